package chatdmtest

import (
	"cmp"
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// rocketChatRequest is an apiRequest whose path, token, and parameters have been
// checked.
type rocketChatRequest struct {
	httpRequest *http.Request
	params      rocketChatParams
	caller      RocketChatUser // zero if there is no valid token, which only public endpoints allow
}

// rocketChatParams maps the names of parameters to decoded JSON values. The
// parameters of a GET are the values in its query, those of a POST are in its body.
type rocketChatParams map[string]any

// text returns a parameter as a string, or "" if it is absent or is not a scalar.
func (p rocketChatParams) text(name string) string {
	value, _ := coerceString(p[name])
	return value
}

// stringParam returns a parameter of the request as a string.
func (req *rocketChatRequest) stringParam(name string) string { return req.params.text(name) }

// rocketChatEndpoint describes an endpoint. Its run function returns either the body
// of a response or an error.
type rocketChatEndpoint struct {
	httpMethods string // such as "GET, POST"
	public      bool   // needs no token
	run         func(*RocketChat, *rocketChatRequest) (any, *rocketChatError)
	schema      rocketChatSchema     // no alternatives allow any parameters
	schemaSince RocketChatGeneration // the first generation that checks the schema
	routerSince RocketChatGeneration // the first generation whose router checks it; empty means RocketChat7
}

var rocketChatEndpoints = map[string]rocketChatEndpoint{
	"im.create":               {httpMethods: "POST", run: (*RocketChat).imCreate, schema: createSchema, schemaSince: RocketChat4},
	"im.open":                 {httpMethods: "POST", run: (*RocketChat).imOpen, schema: roomSchema, schemaSince: RocketChat8},
	"im.close":                {httpMethods: "POST", run: (*RocketChat).imClose, schema: roomSchema, schemaSince: RocketChat8},
	"im.delete":               {httpMethods: "POST", run: (*RocketChat).imDelete, schema: deleteSchema, schemaSince: RocketChat4},
	"im.history":              {httpMethods: "GET", run: (*RocketChat).imHistory, schema: historySchema, schemaSince: RocketChat4, routerSince: RocketChat8},
	"im.messages":             {httpMethods: "GET", run: (*RocketChat).imMessages, schema: messagesSchema, schemaSince: RocketChat4, routerSince: RocketChat8},
	"im.list":                 {httpMethods: "GET", run: (*RocketChat).imList},
	"chat.sendMessage":        {httpMethods: "POST", run: (*RocketChat).chatSendMessage, schema: sendMessageSchema, schemaSince: RocketChat7, routerSince: RocketChat8},
	"chat.postMessage":        {httpMethods: "POST", run: (*RocketChat).chatPostMessage},
	"chat.getMessage":         {httpMethods: "GET", run: (*RocketChat).chatGetMessage, schema: getMessageSchema, schemaSince: RocketChat8},
	"chat.delete":             {httpMethods: "POST", run: (*RocketChat).chatDelete, schema: deleteMessageSchema, schemaSince: RocketChat4, routerSince: RocketChat8},
	"chat.getDeletedMessages": {httpMethods: "GET", run: (*RocketChat).chatGetDeletedMessages, schema: deletedMessagesSchema, schemaSince: RocketChat8},
	"users.info":              {httpMethods: "GET", run: (*RocketChat).usersInfo, schema: userInfoSchema, schemaSince: RocketChat4, routerSince: RocketChat8},
	"login":                   {httpMethods: "POST", run: (*RocketChat).login, public: true},
	"logout":                  {httpMethods: "GET, POST", run: (*RocketChat).logout},
	"me":                      {httpMethods: "GET", run: (*RocketChat).me},
}

// allows reports whether the endpoint has an HTTP method.
func (e rocketChatEndpoint) allows(httpMethod string) bool {
	return slices.Contains(strings.Split(e.httpMethods, ", "), httpMethod)
}

// routerValidates reports whether the router checks the schema of an endpoint. If
// not, the endpoint checks it itself, after the token and the rate limit.
func (r *RocketChat) routerValidates(e rocketChatEndpoint) bool {
	return r.generationAtLeast(cmp.Or(e.routerSince, RocketChat7))
}

// generationAtLeast reports whether the server's generation is g or newer.
func (r *RocketChat) generationAtLeast(g RocketChatGeneration) bool {
	return slices.Index(rocketChatGenerations, r.generation) >= slices.Index(rocketChatGenerations, g)
}

// endpoint returns the endpoint with the given name or alias.
func (r *RocketChat) endpoint(name string) (e rocketChatEndpoint, known bool) {
	if suffix, isAlias := strings.CutPrefix(name, "dm."); isAlias {
		name = "im." + suffix
	}
	if name == "im.delete" && r.generation == RocketChatOld {
		return rocketChatEndpoint{}, false
	}
	e, known = rocketChatEndpoints[name]
	return e, known
}

// respond implements platform.
func (r *RocketChat) respond(req apiRequest) response {
	endpoint, errResp := r.route(req)
	if errResp != nil {
		return *errResp
	}
	params, ok := readParams(req)
	if !ok && !r.generationAtLeast(RocketChat7) {
		return badRequestResponse()
	}
	if method := req.httpRequest.Method; method == http.MethodGet || method == http.MethodHead {
		params = queryParams(req)
	}

	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	caller, authenticated := r.authenticate(req)
	var apiErr *rocketChatError
	if r.generationAtLeast(endpoint.schemaSince) {
		apiErr = r.validate(endpoint, params)
	}
	inRouter := apiErr != nil && r.routerValidates(endpoint)
	switch {
	case inRouter && r.generation == RocketChat7:
		return r.encodeError(req.method, apiErr)
	case !authenticated && !endpoint.public:
		return r.encodeError(req.method, errUnauthorized)
	case inRouter:
		return r.encodeError(req.method, apiErr)
	}

	var limit rateLimitStatus
	if !caller.hasPermission("api-bypass-rate-limit") {
		limit = r.countCall(req.method)
	}
	if limit.wait > 0 {
		apiErr = tooManyRequestsError(limit.wait)
	}
	var result any
	if apiErr == nil {
		object, _ := params.(map[string]any)
		result, apiErr = endpoint.run(r, &rocketChatRequest{httpRequest: req.httpRequest, params: object, caller: caller})
	}
	resp := rocketChatResponse(http.StatusOK, result)
	if apiErr != nil {
		resp = r.encodeError(req.method, apiErr)
	}
	if limit.calls > 0 {
		resp.header.Set("X-RateLimit-Limit", strconv.Itoa(limit.calls))
		resp.header.Set("X-RateLimit-Remaining", strconv.Itoa(limit.remaining))
		resp.header.Set("X-RateLimit-Reset", strconv.FormatInt(limit.resetAt.UnixMilli(), 10))
	}
	return resp
}

// route returns the endpoint of a request, or the response to a request for an
// unknown path or with a wrong HTTP method.
func (r *RocketChat) route(req apiRequest) (endpoint rocketChatEndpoint, errResp *response) {
	endpoint, known := r.endpoint(req.method)
	httpMethod := req.httpRequest.Method
	if r.generationAtLeast(RocketChat7) {
		if httpMethod == http.MethodHead {
			httpMethod = http.MethodGet // the router of these versions does this
		}
		if !known || !endpoint.allows(httpMethod) {
			return endpoint, new(notFoundResponse())
		}
		return endpoint, nil
	}
	switch {
	case !known:
		return endpoint, new(webAppResponse())
	case !endpoint.allows(httpMethod):
		return endpoint, new(methodNotAllowedResponse(endpoint.httpMethods))
	}
	return endpoint, nil
}

// authenticate returns the user that the headers of a request identify.
func (r *RocketChat) authenticate(req apiRequest) (u RocketChatUser, ok bool) {
	u, known := r.users[req.httpRequest.Header.Get("X-User-Id")]
	if !known || !r.ownsToken(u, req.httpRequest.Header.Get("X-Auth-Token")) {
		return RocketChatUser{}, false
	}
	return u, true
}

// ownsToken reports whether token is the user's AuthToken, or was issued by login and
// has not expired. A deactivated user has no tokens.
func (r *RocketChat) ownsToken(u RocketChatUser, token string) bool {
	if u.Deactivated {
		return false
	}
	return r.ownsLoginToken(u, token) || token != "" && token == u.AuthToken
}

// The default permissions of users who are neither bots nor admins, of bots, and of
// admins.
var (
	memberPermissions = []string{"create-d", "delete-own-message"}
	botPermissions    = []string{"create-d", "api-bypass-rate-limit", "message-impersonate"}
	adminPermissions  = []string{"create-d", "delete-own-message", "delete-d", "view-room-administration", "api-bypass-rate-limit",
		"post-readonly", "force-delete-message", "view-full-other-user-info"}
)

// hasPermission reports whether the user has a permission. The zero user has none.
func (u RocketChatUser) hasPermission(permission string) bool {
	switch {
	case u.ID == "":
		return false
	case u.Permissions != nil:
		return slices.Contains(u.Permissions, permission)
	case u.Admin && slices.Contains(adminPermissions, permission):
		return true
	case u.Bot:
		return slices.Contains(botPermissions, permission)
	default:
		return !u.Admin && slices.Contains(memberPermissions, permission)
	}
}

// errorResponse implements platform.
func (r *RocketChat) errorResponse(req apiRequest, code string) response {
	return r.encodeError(req.method, r.errorForCode(req, code))
}

// queryParams returns the parameters in a query. If a parameter is repeated, the
// first value counts.
func queryParams(req apiRequest) map[string]any {
	params := make(map[string]any)
	for name, values := range req.httpRequest.URL.Query() {
		params[name] = values[0]
	}
	return params
}

// readParams returns the parameters in a body: a JSON object, or a JSON array if
// the client sent one by mistake. A body that is neither JSON nor a form has no
// parameters. If the body cannot be parsed, readParams returns no parameters and
// false.
func readParams(req apiRequest) (body any, ok bool) {
	params := make(map[string]any)
	mediaType, _, err := mime.ParseMediaType(req.httpRequest.Header.Get("Content-Type"))
	if err != nil || len(req.body) == 0 {
		return params, true
	}
	switch mediaType {
	case "application/x-www-form-urlencoded":
		form, code := readForm(req.body)
		for name, value := range form {
			params[name] = value
		}
		return params, code == ""
	case "application/json":
		if err := json.Unmarshal(req.body, &body); err != nil {
			return params, false
		}
		switch body.(type) {
		case map[string]any, []any:
			return body, true
		}
		return params, false
	}
	return params, true
}
