package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// undocumented lists the methods that return a code although the vendor does not
// document it for them.
var undocumented = map[string][]string{
	"cannot_dm_bot":                       {"chat.postMessage", "conversations.open", "im.open"},
	"error-not-authorized":                {"endpoints that only `Call` reaches"},
	"invalid_attachments":                 {"chat.postMessage"},
	"list_record_comment_fetch_failed":    {"conversations.replies"},
	"msg_too_large":                       {"chat.postMessage"},
	"msg_too_long":                        {"chat.postMessage"},
	"thread_not_found":                    {"conversations.replies"},
	"invalid_refresh_token":               {"oauth.v2.access"},
	"invalid_client_id":                   {"oauth.v2.access", "oauth.v2.exchange"},
	"bad_client_secret":                   {"oauth.v2.access", "oauth.v2.exchange"},
	"invalid_grant_type":                  {"oauth.v2.access"},
	"invalid_code":                        {"oauth.v2.access"},
	"invalid_code_verifier":               {"oauth.v2.access"},
	"bad_redirect_uri":                    {"oauth.v2.access"},
	"no_scopes":                           {"oauth.v2.access"},
	"pkce_not_allowed":                    {"oauth.v2.access"},
	"preview_feature_not_available":       {"oauth.v2.access"},
	"oauth_authorization_url_mismatch":    {"oauth.v2.access"},
	"cannot_install_an_org_installed_app": {"oauth.v2.access"},
	"user_email_unverified":               {"oauth.v2.access"},
	"authorization_not_found":             {"oauth.v2.exchange"},
	"invalid_token":                       {"oauth.v2.exchange"},
	"token_already_exchanged":             {"oauth.v2.exchange"},
	"token_rotation_not_enabled":          {"oauth.v2.exchange"},
}

// retries explains the values of the third field of a catalogue entry. The client
// does not retry a call that fails with a code without that field.
var retries = []struct{ field, text string }{
	{"engine.Rejected", "All calls, after the wait that the server requested."},
	{"engine.Expired", "All calls, once, if a `TokenRefresher` replaces the token."},
	{"engine.EffectUnknown", "Idempotent calls. The error of any other call also matches `chatdm.ErrEffectUnknown`."},
}

// entry describes one error code.
type entry struct {
	platform             *source
	code, name           string // "user_disabled", "chatdm.ErrUserDisabled"
	kind, meaning, retry string
}

func errorsPage(slack, rocketChat *source) (string, error) {
	entries, err := catalogue(slack, rocketChat)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(`<!-- Generated from errors.go. Do not edit. -->

# Errors

Every failed call returns a ` + "`*chatdm.Error`" + `. Use ` + "`errors.Is`" + ` to match its kind, its code, or its
cause. The kind tells your program what to do. The code tells you why.

## Kinds

| kind | what happened, and what to do |
|---|---|
`)
	kinds := constants(slack, "Kind")
	for _, kind := range kinds {
		text, ok := explain(slack.docs[kind.name], kind.name)
		if !ok {
			return "", fmt.Errorf("the doc comment of %s must begin with %q or %q", kind.name, kind.name+" means that", kind.name+" is")
		}
		fmt.Fprintf(&b, "| `chatdm.%s`<br>`%s` | %s |\n", kind.name, kind.value, text)
	}
	b.WriteString(`
## Retries

The client retries calls that fail with one of these codes. It retries a call that fails with another
code only if the call is idempotent and the status is 500, 502, 503, or 504.

| codes | calls that the client retries |
|---|---|
`)
	for _, retry := range retries {
		var codes []string
		for _, e := range entries {
			if e.retry == retry.field {
				codes = append(codes, "`"+e.code+"`")
			}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(codes, ", "), retry.text)
	}
	b.WriteString(`
## Codes

Each code has a constant. Other codes have ` + "`KindUnknown`" + `. To match one of them, convert it:
` + "`errors.Is(err, chatdm.Code(\"brand_new\"))`" + `. "All methods" means all methods of the same platform that
[methods.md](methods.md) lists by name.
`)
	for _, kind := range kinds {
		heading := fmt.Sprintf("\n### %s\n\n| code | meaning | returned by |\n|---|---|---|\n", kind.name)
		for _, e := range entries {
			if e.kind != kind.value {
				continue
			}
			methods, err := returnedBy(e.code, e.platform.documented)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%s| `%s`<br>`%s` | %s | %s |\n", heading, e.code, e.name, e.meaning, methods)
			heading = ""
		}
	}
	return b.String(), nil
}

// explain turns the doc comment of a constant into the text of a table cell.
func explain(doc, name string) (text string, ok bool) {
	for _, verb := range []string{" means that ", " is "} {
		if text, ok := strings.CutPrefix(doc, name+verb); ok && text != "" {
			return strings.ToUpper(text[:1]) + text[1:], true
		}
	}
	return "", false
}

// returnedBy names the methods that return a code.
func returnedBy(code string, documented map[string][]string) (string, error) {
	returns := make(map[string]bool)
	for _, method := range undocumented[code] {
		returns[method] = true
	}
	services := make(map[string][]string)
	var missing []string
	for _, method := range slices.Sorted(maps.Keys(documented)) {
		service, _, _ := strings.Cut(method, ".")
		services[service] = append(services[service], method)
		if slices.Contains(documented[method], code) {
			returns[method] = true
		} else if !returns[method] {
			missing = append(missing, method)
		}
	}
	if len(returns) == 0 {
		return "", fmt.Errorf("%s: no method returns this code; name one in undocumented", code)
	}
	if len(missing) == 0 {
		return "all methods", nil
	}
	var groups []string
	for _, method := range slices.Sorted(maps.Keys(returns)) {
		service, _, _ := strings.Cut(method, ".")
		all := services[service]
		if len(all) > 1 && !slices.ContainsFunc(all, func(other string) bool { return !returns[other] }) {
			method = service + ".*"
		}
		if !slices.Contains(groups, method) {
			groups = append(groups, method)
		}
	}
	if len(groups) > 2 && len(missing) < len(groups) {
		return "all methods except " + strings.Join(missing, ", "), nil
	}
	return strings.Join(groups, ", "), nil
}

// catalogue reads the map of the same name in errors.go. It returns the codes of
// each platform in alphabetical order.
func catalogue(slack, rocketChat *source) (entries []entry, err error) {
	var literal *ast.CompositeLit
	for _, file := range slack.Syntax {
		for node := range ast.Preorder(file) {
			if spec, ok := node.(*ast.ValueSpec); ok && spec.Names[0].Name == "catalogue" {
				literal, _ = spec.Values[0].(*ast.CompositeLit)
			}
		}
	}
	if literal == nil {
		return nil, errors.New("found no map literal named catalogue")
	}
	values := make(map[string]entry)
	for _, element := range literal.Elts {
		pair := element.(*ast.KeyValueExpr)
		var e entry
		for _, element := range pair.Value.(*ast.CompositeLit).Elts {
			field := element.(*ast.KeyValueExpr)
			switch types.ExprString(field.Key) {
			case "kind":
				e.kind = stringOf(slack, field.Value)
			case "meaning":
				e.meaning = stringOf(slack, field.Value)
			default:
				e.retry = types.ExprString(field.Value)
			}
		}
		code := stringOf(slack, pair.Key)
		known := e.retry == ""
		for _, retry := range retries {
			known = known || e.retry == retry.field
		}
		if e.kind == "" || e.meaning == "" || !known {
			return nil, fmt.Errorf("%s: invalid catalogue entry: kind %q, meaning %q, retry %q", code, e.kind, e.meaning, e.retry)
		}
		values[code] = e
	}
	for _, platform := range []*source{slack, rocketChat} {
		for _, c := range slices.SortedFunc(slices.Values(constants(platform, "Code")), func(a, b named) int { return cmp.Compare(a.value, b.value) }) {
			e, ok := values[c.value]
			if !ok {
				return nil, fmt.Errorf("%s: not in the catalogue", c.name)
			}
			e.platform, e.code, e.name = platform, c.value, platform.Name+"."+c.name
			entries = append(entries, e)
		}
	}
	return entries, nil
}

func stringOf(src *source, expr ast.Expr) string {
	if value := src.TypesInfo.Types[expr].Value; value != nil && value.Kind() == constant.String {
		return constant.StringVal(value)
	}
	return ""
}

type named struct{ name, value string }

// constants returns the exported constants of a type, in source order.
func constants(src *source, typeName string) (all []named) {
	scope := src.Types.Scope()
	names := scope.Names()
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(scope.Lookup(a).Pos(), scope.Lookup(b).Pos()) })
	for _, name := range names {
		c, ok := scope.Lookup(name).(*types.Const)
		if !ok || !c.Exported() {
			continue
		}
		if t, ok := c.Type().(*types.Named); ok && t.Obj().Name() == typeName {
			all = append(all, named{name, constant.StringVal(c.Val())})
		}
	}
	return all
}
