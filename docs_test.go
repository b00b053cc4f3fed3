package chatdm_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// TestEveryMethodHasAnExample checks the exported methods of every exported type.
func TestEveryMethodHasAnExample(t *testing.T) {
	for _, dir := range []string{".", "rocketchat", "chatdmtest"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		examples := map[string]bool{}
		var files []*ast.File
		for _, name := range names {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(name, "_test.go") {
				files = append(files, file)
				continue
			}
			for _, e := range doc.Examples(file) {
				if e.Output == "" {
					t.Errorf("%s: Example%s has no output", dir, e.Name)
				}
				examples[e.Name] = true
			}
		}
		for _, file := range files {
			for _, decl := range file.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || fn.Recv == nil || !fn.Name.IsExported() {
					continue
				}
				recv := fn.Recv.List[0].Type
				if star, ok := recv.(*ast.StarExpr); ok {
					recv = star.X
				}
				if name := recv.(*ast.Ident).Name; ast.IsExported(name) && !examples[name+"_"+fn.Name.Name] {
					t.Errorf("%s: %s.%s has no Example%s_%s", dir, name, fn.Name.Name, name, fn.Name.Name)
				}
			}
		}
	}
}

// TestSecurityClaims checks that every test that SECURITY.md names exists.
func TestSecurityClaims(t *testing.T) {
	page := read(t, "SECURITY.md")
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "rocketchat/*_test.go", "internal/engine/*_test.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			tests.WriteString(read(t, name))
		}
	}
	claimed := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(page, -1)
	if len(claimed) < 20 {
		t.Errorf("SECURITY.md: got %d tests, want at least 20", len(claimed))
	}
	for _, name := range claimed {
		if !strings.Contains(tests.String(), "func "+name[1]+"(") {
			t.Errorf("SECURITY.md names %s, which does not exist", name[1])
		}
	}
}

// TestCodeInDocs checks the code in the Markdown files. Go code must be a complete
// file, which .ci/run builds, or a part of a Go file in this repository. Commands
// must also appear in .ci/run.
func TestCodeInDocs(t *testing.T) {
	var pages, sources []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			pages = append(pages, path)
		case strings.HasSuffix(path, ".go"):
			sources = append(sources, flat(read(t, path)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// A command in a comment of .ci/run does not count.
	ci := regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAllString(read(t, ".ci/run"), "")
	code, commands := 0, 0
	fence := regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	inline := regexp.MustCompile("`(go run \\./[\\w/]+|go (?:-C|test) [^`]+)")
	for _, page := range pages {
		text := read(t, page)
		for _, block := range fence.FindAllStringSubmatch(text, -1) {
			switch block[1] {
			case "go":
				code++
				piece := flat(block[2])
				if !strings.HasPrefix(piece, "package ") && !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, piece) }) {
					t.Errorf("%s: no Go file contains this code:\n%s", page, block[2])
				}
			case "sh":
				for command := range strings.Lines(block[2]) {
					commands++
					if command = strings.TrimSpace(command); command != ".ci/run" && !strings.Contains(ci, command) {
						t.Errorf("%s: .ci/run does not run %q", page, command)
					}
				}
			}
		}
		for _, command := range inline.FindAllStringSubmatch(text, -1) {
			commands++
			if !strings.Contains(ci, command[1]) {
				t.Errorf("%s: .ci/run does not run %q", page, command[1])
			}
		}
	}
	if code < 5 || commands < 5 {
		t.Errorf("got %d blocks of code and %d commands, want at least 5 of each", code, commands)
	}
}

// goName turns a name in the suite into what users type.
func goName(name string) string {
	receiver, method, ok := strings.Cut(name, ".")
	if !ok {
		return "rocketchat." + name
	}
	if service, ok := strings.CutSuffix(receiver, "Service"); ok {
		return "client." + service + "." + method
	}
	return "client." + method
}

// TestMethodsAreComplete checks what every method needs in addition to its code.
func TestMethodsAreComplete(t *testing.T) {
	slack, rocket := chatdmtest.NewSlack(), chatdmtest.NewRocketChat()
	defer slack.Close()
	defer rocket.Close()
	readme, codes := read(t, "README.md"), documented(t)
	slackMethods, rocketChatMethods, _ := strings.Cut(read(t, "docs/methods.md"), "## Rocket.Chat")
	for name, m := range conforming {
		pkg, name, _ := strings.Cut(name, ".")
		if !strings.Contains(readme, "`"+goName(name)+"`") && name != "Resume" {
			t.Errorf("%s.%s is not in the README's table", pkg, name)
		}
		methods := rocketChatMethods
		if m.service == "slack" {
			methods = slackMethods
		}
		idempotent := map[bool]string{true: "yes", false: "no"}[m.repeatable]
		if !regexp.MustCompile("(?m)`" + regexp.QuoteMeta(goName(name)) + "`.* \\| " + idempotent + " \\|$").MatchString(methods) {
			t.Errorf("docs/methods.md: want %s.%s with %q in the last column, as in the suite", pkg, name, idempotent)
		}
		if name == "Client.Call" {
			continue
		}
		url := rocket.URL + "/api/v1/"
		if m.service == "slack" {
			url = slack.URL + "/"
		}
		resp, err := http.Post(url+m.api, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == 404 || strings.Contains(string(body), string(chatdm.ErrUnknownMethod)) {
			t.Errorf("%s.%s: chatdmtest does not have the method: got status %d, body %s", pkg, name, resp.StatusCode, body)
		}
		if m.service != "slack" {
			continue
		}
		if chatdm.SlackTiers()["slack."+m.api].PerMinute == 0 {
			t.Errorf("%s is not in SlackTiers", m.api)
		}
		if responses, _ := filepath.Glob("testdata/slack/" + m.api + "/*.response.http"); len(responses) == 0 {
			t.Errorf("%s has no responses in testdata", m.api)
		}
		for _, common := range []chatdm.Code{
			chatdm.ErrNotAuthed, chatdm.ErrInvalidAuth, chatdm.ErrAccountInactive, chatdm.ErrTokenRevoked, chatdm.ErrMissingScope, chatdm.ErrRateLimited,
			chatdm.ErrRequestTimeout, chatdm.ErrServiceUnavailable, chatdm.ErrFatalError, chatdm.ErrInternalError,
		} {
			if !slices.Contains(codes[m.api], common) {
				t.Errorf("%s: documented_errors.json lacks %s, which every method returns", m.api, common)
			}
		}
	}
}

// flat removes the indentation from Go source.
func flat(source string) string {
	var b strings.Builder
	for line := range strings.Lines(source) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
