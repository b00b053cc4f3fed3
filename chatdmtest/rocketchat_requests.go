package chatdmtest

import (
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// rocketChatRequest is an apiRequest whose path, token, and body have been checked.
type rocketChatRequest struct {
	httpRequest *http.Request
	params      map[string]any // decoded JSON values from the body
	caller      RocketChatUser // zero if there is no valid token, which only public endpoints allow
}

// rocketChatEndpoint describes an endpoint. Its run function returns either the body
// of a response or an error.
type rocketChatEndpoint struct {
	httpMethod  string
	public      bool // needs no token
	run         func(*RocketChat, *rocketChatRequest) (any, *rocketChatError)
	schema      []rocketChatBodySchema // alternatives for the body; empty allows any body
	schemaSince RocketChatGeneration   // the first generation that checks the schema
}

var rocketChatEndpoints = map[string]rocketChatEndpoint{
	"im.create":        {httpMethod: "POST", run: (*RocketChat).imCreate, schema: createSchema, schemaSince: RocketChat4},
	"im.open":          {httpMethod: "POST", run: (*RocketChat).imOpen, schema: roomSchema, schemaSince: RocketChat8},
	"im.close":         {httpMethod: "POST", run: (*RocketChat).imClose, schema: roomSchema, schemaSince: RocketChat8},
	"im.delete":        {httpMethod: "POST", run: (*RocketChat).imDelete, schema: deleteSchema, schemaSince: RocketChat4},
	"im.history":       {httpMethod: "GET", run: (*RocketChat).imHistory},
	"im.list":          {httpMethod: "GET", run: (*RocketChat).imList},
	"chat.postMessage": {httpMethod: "POST", run: (*RocketChat).chatPostMessage},
	"login":            {httpMethod: "POST", run: (*RocketChat).login, public: true},
	"logout":           {httpMethod: "POST", run: (*RocketChat).logout},
	"me":               {httpMethod: "GET", run: (*RocketChat).me},
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
	body, ok := readParams(req)
	if !ok && !r.generationAtLeast(RocketChat7) {
		return badRequestResponse()
	}

	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	caller, authenticated := r.authenticate(req)
	var apiErr *rocketChatError
	if r.generationAtLeast(endpoint.schemaSince) {
		apiErr = r.validate(endpoint.schema, body)
	}
	switch {
	case apiErr != nil && r.generation == RocketChat7:
		return r.encodeError(req.method, apiErr)
	case !authenticated && !endpoint.public:
		return r.encodeError(req.method, errUnauthorized)
	case apiErr != nil && r.generation == RocketChat8:
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
		params, _ := body.(map[string]any)
		result, apiErr = endpoint.run(r, &rocketChatRequest{httpRequest: req.httpRequest, params: params, caller: caller})
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
		if !known || httpMethod != endpoint.httpMethod {
			return endpoint, new(notFoundResponse())
		}
		return endpoint, nil
	}
	switch {
	case !known:
		return endpoint, new(webAppResponse())
	case httpMethod != endpoint.httpMethod:
		return endpoint, new(methodNotAllowedResponse(endpoint.httpMethod))
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

// ownsToken reports whether token is the user's AuthToken or was issued by login.
func (r *RocketChat) ownsToken(u RocketChatUser, token string) bool {
	owner, issued := r.loginTokens[token]
	return issued && owner == u.ID || token != "" && token == u.AuthToken
}

var (
	memberPermissions = []string{"create-d"}
	adminPermissions  = []string{"create-d", "delete-d", "view-room-administration", "api-bypass-rate-limit"}
)

// hasPermission reports whether the user has a permission. The zero user has none.
func (u RocketChatUser) hasPermission(permission string) bool {
	switch {
	case u.ID == "":
		return false
	case u.Permissions != nil:
		return slices.Contains(u.Permissions, permission)
	case u.Admin:
		return slices.Contains(adminPermissions, permission)
	default:
		return slices.Contains(memberPermissions, permission)
	}
}

// errorResponse implements platform.
func (r *RocketChat) errorResponse(req apiRequest, code string) response {
	return r.encodeError(req.method, r.errorForCode(req.method, code))
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

// stringParam returns a parameter as a string, or "" if it is absent or is not a
// scalar.
func (req *rocketChatRequest) stringParam(name string) string {
	value, _ := coerceString(req.params[name])
	return value
}
