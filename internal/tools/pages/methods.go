package main

import (
	"cmp"
	"fmt"
	"go/types"
	"regexp"
	"slices"
	"strings"

	"github.com/chatdm/chatdm"
)

// functions maps the functions that are not methods to the API methods they call.
var functions = map[string]string{"Login": "login", "Resume": "login"}

// rocketChatPerMinute is the default rate limit of every endpoint, in calls per
// minute and IP address.
const rocketChatPerMinute = "10"

// method is a Go function that sends a request.
type method struct {
	api, call           string // "im.open", "client.IM.Open"
	needs, flags, limit string
	idempotent          string // "yes" or "no"
}

func methodsPage(slack, rocketChat *source) (string, error) {
	var b strings.Builder
	b.WriteString(`<!-- Generated from the doc comments. Do not edit. -->

# Methods

If a response is lost or the server fails, the call may have taken effect. The client retries the
call if it is idempotent. If it is not, the call returns an error that matches
` + "`chatdm.ErrEffectUnknown`" + `. For a message with a [key](messages.md), it finds out what happened.

The client retries every call if the request never reached the server, or if the server rejected it
because of a rate limit or a token that can be [refreshed](credentials.md).
`)
	for _, section := range []struct {
		title, columns string
		src            *source
	}{
		{"Slack", "scope | flags | calls per minute", slack},
		{"Rocket.Chat", "the user needs | flags | calls per minute and IP address", rocketChat},
	} {
		methods, err := methodsOf(section.src)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n## %s\n\n| method | Go | %s | idempotent |\n|---|---|---|---|---|---|\n", section.title, section.columns)
		for _, m := range methods {
			fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s | %s |\n", m.api, m.call, m.needs, m.flags, m.limit, m.idempotent)
		}
	}
	b.WriteString(`
- Slack counts calls per method, workspace, and app. See its
  [rate limits](https://docs.slack.dev/apis/web-api/rate-limits).
- The limits for Rocket.Chat are the server's defaults. They do not apply to administrators, bots,
  or apps.
- [errors.md](errors.md) lists the error codes and the methods that return them.
`)
	return b.String(), nil
}

// methodsOf returns the functions and methods that send a request, in source
// order, with Call at the end.
func methodsOf(src *source) ([]method, error) {
	var funcs []*types.Func
	for _, name := range src.Types.Scope().Names() {
		switch obj := src.Types.Scope().Lookup(name).(type) {
		case *types.Func:
			funcs = append(funcs, obj)
		case *types.TypeName:
			if t, ok := obj.Type().(*types.Named); ok && (name == "Client" || strings.HasSuffix(name, "Service")) {
				funcs = slices.AppendSeq(funcs, t.Methods())
			}
		}
	}
	funcs = slices.DeleteFunc(funcs, func(f *types.Func) bool {
		params := f.Signature().Params()
		return !f.Exported() || params.Len() == 0 || params.At(0).Type().String() != "context.Context"
	})
	position := func(f *types.Func) (file string, offset int) {
		p := src.Fset.Position(f.Pos())
		if f.Name() == "Call" {
			return "~", 0 // after all file names
		}
		return p.Filename, p.Offset
	}
	slices.SortFunc(funcs, func(a, b *types.Func) int {
		fileA, offsetA := position(a)
		fileB, offsetB := position(b)
		return cmp.Or(cmp.Compare(fileA, fileB), cmp.Compare(offsetA, offsetB))
	})
	var methods []method
	for _, f := range funcs {
		m, err := describe(src, f)
		if err != nil {
			return nil, err
		}
		methods = append(methods, m)
	}
	return methods, nil
}

var (
	needs = regexp.MustCompile(` needs (?:the scope )?(.*?)\.(?: |$)`)
	page  = regexp.MustCompile(`Documented at (https://\S+?)\.?( until 2021\.)?( |$)`)
)

func describe(src *source, f *types.Func) (m method, err error) {
	name, receiver := f.Name(), ""
	if recv := f.Signature().Recv(); recv != nil {
		t := recv.Type()
		if pointer, ok := t.(*types.Pointer); ok {
			t = pointer.Elem()
		}
		receiver = t.(*types.Named).Obj().Name()
		name = receiver + "." + name
	}
	fail := func(format string, args ...any) (method, error) {
		return method{}, fmt.Errorf("%s.%s: %w", src.Name, name, fmt.Errorf(format, args...))
	}
	doc := src.docs[name]
	if m.idempotent = idempotent(doc); m.idempotent == "" {
		return fail("the doc comment must say %q or %q", "The call is idempotent", "The call is not idempotent")
	}
	if name == "Client.Call" {
		m.api, m.call, m.needs, m.limit = "any other", "client.Call", "depends on the method", "depends on the method"
		return m, nil
	}
	if service, ok := strings.CutSuffix(receiver, "Service"); ok {
		m.api = strings.ToLower(service) + "." + strings.ToLower(f.Name()[:1]) + f.Name()[1:]
		m.call = "client." + service + "." + f.Name()
	} else {
		m.api, m.call = functions[name], src.Name+"."+name
	}
	if src.documented[m.api] == nil {
		return fail("documented_errors.json has no method %q", m.api)
	}
	m.limit = rocketChatPerMinute
	if src.Name == "chatdm" {
		key := "slack." + m.api
		if m.limit = limit(chatdm.SlackTiers()[key], chatdm.SlackTiers()[key+"/*"]); m.limit == "" {
			return fail("SlackTiers has no tier for %q", key)
		}
	}
	if match := needs.FindStringSubmatch(doc); match != nil {
		m.needs = match[1]
	}
	match := page.FindStringSubmatch(doc)
	if match == nil {
		return fail("the doc comment must say %q", "Documented at https://…")
	}
	m.flags = flags(f.Signature().Results().At(0).Type())
	m.api = "[" + m.api + "](" + match[1] + ")"
	if match[2] != "" {
		m.api += " (retired)"
	}
	return m, nil
}

// limit describes the tier of a method and its tier per conversation.
func limit(method, conversation chatdm.Tier) string {
	var parts []string
	if method.PerMinute > 0 {
		parts = append(parts, fmt.Sprint(method.PerMinute))
	}
	if conversation.PerMinute > 0 {
		parts = append(parts, fmt.Sprint(conversation.PerMinute, " per conversation"))
	}
	return strings.Join(parts, ", ")
}

// idempotent returns whether a call is idempotent according to its doc comment:
// "yes", "no", or "" if the comment does not say so.
func idempotent(doc string) string {
	switch {
	case strings.Contains(doc, "The call is idempotent"):
		return "yes"
	case strings.Contains(doc, "The call is not idempotent"):
		return "no"
	}
	return ""
}

// flags lists the boolean fields of a result that say what the call did. Fields such as
// IsEnterpriseInstall describe the target instead.
func flags(t types.Type) string {
	if pointer, ok := t.(*types.Pointer); ok {
		t = pointer.Elem()
	}
	result, ok := t.Underlying().(*types.Struct)
	if !ok {
		return ""
	}
	var names []string
	for field := range result.Fields() {
		if types.Identical(field.Type(), types.Typ[types.Bool]) && field.Exported() && !strings.HasPrefix(field.Name(), "Is") {
			names = append(names, "`"+field.Name()+"`")
		}
	}
	return strings.Join(names, ", ")
}
