package chatdmtest

import (
	"net/http"
	"time"
)

// The bodies of responses. Their fields have the same order as on real servers.
type (
	rocketChatSuccessResponse struct {
		Success bool `json:"success"`
	}

	rocketChatAuthor struct {
		ID       string `json:"_id"`
		Username string `json:"username"`
		Name     string `json:"name"`
	}

	// rocketChatMessage is a stored message. It never changes.
	rocketChatMessage struct {
		ID           string           `json:"_id"`
		RoomID       string           `json:"rid"`
		Text         string           `json:"msg"`
		Timestamp    string           `json:"ts"`
		User         rocketChatAuthor `json:"u"`
		ThreadID     string           `json:"tmid,omitempty"`
		ThreadShown  bool             `json:"tshow,omitempty"`
		Alias        string           `json:"alias,omitempty"`
		Emoji        string           `json:"emoji,omitempty"`
		Avatar       string           `json:"avatar,omitempty"`
		Attachments  any              `json:"attachments,omitempty"`
		Blocks       any              `json:"blocks,omitempty"`
		CustomFields any              `json:"customFields,omitempty"`
		Mentions     []string         `json:"mentions"`
		Channels     []string         `json:"channels"`
		UpdatedAt    string           `json:"_updatedAt"`

		posted time.Time // Timestamp
	}

	// rocketChatMessageResponse is the body of a response of chat.sendMessage or
	// chat.getMessage.
	rocketChatMessageResponse struct {
		Message *rocketChatMessage `json:"message"`
		Success bool               `json:"success"`
	}

	rocketChatPostMessageResponse struct {
		Timestamp int64              `json:"ts"` // milliseconds
		Channel   string             `json:"channel"`
		Message   *rocketChatMessage `json:"message"`
		Success   bool               `json:"success"`
	}

	rocketChatHistoryResponse struct {
		Messages []*rocketChatMessage `json:"messages"`
		Success  bool                 `json:"success"`
	}

	rocketChatMessagesResponse struct {
		Messages []*rocketChatMessage `json:"messages"`
		Count    int                  `json:"count"`
		Offset   int                  `json:"offset"`
		Total    int                  `json:"total"`
		Success  bool                 `json:"success"`
	}

	rocketChatDeleteMessageResponse struct {
		ID        string                   `json:"_id"`
		Timestamp any                      `json:"ts"` // milliseconds, as a number or a string
		Message   rocketChatDeletedMessage `json:"message"`
		Success   bool                     `json:"success"`
	}

	rocketChatDeletedMessage struct {
		ID     string           `json:"_id"`
		RoomID string           `json:"rid"`
		User   rocketChatAuthor `json:"u"`
	}

	rocketChatDeletedMessagesResponse struct {
		Messages []rocketChatMessageID `json:"messages"`
		Count    int                   `json:"count"`
		Offset   int                   `json:"offset"`
		Total    int                   `json:"total"`
		Success  bool                  `json:"success"`
	}

	rocketChatMessageID struct {
		ID string `json:"_id"`
	}

	rocketChatUserInfoResponse struct {
		User    rocketChatUserInfo `json:"user"`
		Success bool               `json:"success"`
	}

	rocketChatUserInfo struct {
		ID             string            `json:"_id"`
		Username       string            `json:"username"`
		Name           string            `json:"name"`
		Type           string            `json:"type"`
		Status         string            `json:"status"`
		Active         bool              `json:"active"`
		Roles          []string          `json:"roles,omitempty"`
		Emails         []rocketChatEmail `json:"emails,omitempty"`
		UTCOffset      int               `json:"utcOffset"`
		CanViewAllInfo bool              `json:"canViewAllInfo"`
	}

	rocketChatErrorResponse struct {
		Success   bool                    `json:"success"`
		Error     string                  `json:"error,omitempty"`
		ErrorType string                  `json:"errorType,omitempty"`
		Details   *rocketChatErrorDetails `json:"details,omitempty"`
	}

	// rocketChatErrorDetails names the server function that failed. For two-factor
	// authentication, it lists the accepted methods.
	rocketChatErrorDetails struct {
		Method           string   `json:"method,omitempty"`
		Action           string   `json:"action,omitempty"`
		Function         string   `json:"function,omitempty"`
		MessageTime      any      `json:"message_ts,omitempty"`
		ServerTime       int64    `json:"server_ts,omitempty"` // milliseconds
		CodeGenerated    *bool    `json:"codeGenerated,omitempty"`
		AvailableMethods []string `json:"availableMethods,omitempty"`
	}

	// rocketChatStatusResponse is the body of a 401 or 405.
	rocketChatStatusResponse struct {
		Success *bool  `json:"success,omitempty"`
		Error   string `json:"error,omitempty"`
		Status  string `json:"status"`
		Message string `json:"message"`
	}

	rocketChatLoginErrorResponse struct {
		Status  string                  `json:"status"`
		Error   any                     `json:"error"`
		Details *rocketChatErrorDetails `json:"details,omitempty"`
		Message string                  `json:"message"`
	}

	// rocketChatDataResponse is the body of a successful login or logout.
	rocketChatDataResponse struct {
		Status  string `json:"status"`
		Data    any    `json:"data"`
		Success bool   `json:"success,omitempty"`
	}

	rocketChatLoginData struct {
		UserID    string            `json:"userId"`
		AuthToken string            `json:"authToken"`
		Me        rocketChatProfile `json:"me"`
	}

	rocketChatLogoutData struct {
		Message string `json:"message"`
	}

	rocketChatProfile struct {
		ID       string            `json:"_id"`
		Username string            `json:"username"`
		Name     string            `json:"name"`
		Emails   []rocketChatEmail `json:"emails,omitempty"`
		Success  bool              `json:"success,omitempty"`
	}

	rocketChatEmail struct {
		Address  string `json:"address"`
		Verified bool   `json:"verified"`
	}

	rocketChatCreateResponse struct {
		Room    rocketChatCreatedRoom `json:"room"`
		Success bool                  `json:"success"`
	}

	// rocketChatCreatedRoom has its ID in two fields, as on real servers.
	rocketChatCreatedRoom struct {
		Type      string   `json:"t"`
		RoomID    string   `json:"rid"`
		Usernames []string `json:"usernames,omitempty"`
		ID        string   `json:"_id"`
	}

	rocketChatListResponse struct {
		IMs     []rocketChatListedRoom `json:"ims"`
		Offset  int                    `json:"offset"`
		Count   int                    `json:"count"`
		Total   int                    `json:"total"`
		Success bool                   `json:"success"`
	}

	rocketChatListedRoom struct {
		ID           string   `json:"_id"`
		Type         string   `json:"t"`
		Usernames    []string `json:"usernames"`
		UsersCount   int      `json:"usersCount"`
		MessageCount int      `json:"msgs"`
		Created      string   `json:"ts"`
		UserIDs      []string `json:"uids"`
	}
)

// rocketChatTime formats a time as Rocket.Chat does.
func rocketChatTime(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// rocketChatResponse returns a response with a JSON body and the headers of real
// servers.
func rocketChatResponse(status int, body any) response {
	return response{
		status: status,
		header: http.Header{
			"Cache-Control":                {"no-store"},
			"Pragma":                       {"no-cache"},
			"Content-Type":                 {"application/json"},
			"Access-Control-Allow-Origin":  {"*"},
			"Access-Control-Allow-Headers": {"Origin, X-Requested-With, Content-Type, Accept, X-User-Id, X-Auth-Token"},
		},
		body: mustMarshal(body),
	}
}
