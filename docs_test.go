package chatdm_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"go/types"
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

// TestEveryMethodHasAnExample holds for the methods of every exported type of
// the packages that users import; the test files of a package hold its examples.
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
					t.Errorf("%s: Example%s has no output to check", dir, e.Name)
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

// TestSecurityClaims: every test that SECURITY.md names is there.
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
		t.Errorf("only %d tests are named", len(claimed))
	}
	for _, name := range claimed {
		if !strings.Contains(tests.String(), "func "+name[1]+"(") {
			t.Errorf("there is no %s", name[1])
		}
	}
}

// TestCodeInDocs: Go in the documentation is a whole file, which .ci/run builds,
// or a piece of a Go file of this repository; and .ci/run runs each command.
func TestCodeInDocs(t *testing.T) {
	var pages, sources []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "node_modules", d.Name() == ".git":
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
	// The comments of .ci/run do not run anything.
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
					t.Errorf("%s: no Go file has this:\n%s", page, block[2])
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
		t.Errorf("only %d pieces of code and %d commands were found", code, commands)
	}
}

// TestMethodsPage keeps docs/methods.md what the code says: the doc comments, the
// results' flags, the tiers, and which calls the conformance suite has seen
// repeated.
func TestMethodsPage(t *testing.T) {
	page := methodsPage(t)
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile("docs/methods.md", []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, "docs/methods.md") != page {
		t.Error("docs/methods.md is not what the code says; run: go test -run TestMethodsPage -update .")
	}
}

func methodsPage(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`<!-- Made from the code by: go test -run TestMethodsPage -update . -->

# Methods

"Sent again" is what the client does when an answer is lost, or says that the
server failed. What never reached the server, and what it refused for its rate,
is sent again for all.
`)
	listed := 0
	for _, platform := range []struct {
		title, dir, columns, limit string
		methods                    []string
	}{
		{"Slack", ".", "needs the scope | flags | calls a minute", "", []string{
			"ConversationsService.Open", "ConversationsService.Close", "ConversationsService.List", "IMService.Open", "IMService.Close", "Client.Call"}},
		{"Rocket.Chat", "rocketchat", "the user needs | flags | calls a minute from an IP address", "10", []string{
			"IMService.Create", "IMService.Open", "IMService.Close", "IMService.Delete", "Login", "Resume", "Client.Call"}},
	} {
		docs, flags := documentation(t, platform.dir)
		fmt.Fprintf(&b, "\n## %s\n\n| method | Go | %s | sent again | vendor's page |\n|---|---|---|---|---|---|---|\n", platform.title, platform.columns)
		for _, name := range platform.methods {
			pkg := "chatdm"
			if platform.dir != "." {
				pkg = platform.dir
			}
			m, ok := conforming[pkg+"."+name]
			if !ok || docs[name] == "" {
				t.Errorf("%s.%s is not there, or not documented", pkg, name)
				continue
			}
			goName := goNames.Replace(name)
			listed++
			again := map[bool]string{true: "yes", false: "no"}[m.repeatable]
			if name == "Client.Call" {
				fmt.Fprintf(&b, "| any other | `%s` | what the method needs | | the method's | %s | |\n", goName, again)
				continue
			}
			limit := platform.limit
			if tier := chatdm.SlackTiers()[m.service+"."+m.api]; m.service == "slack" {
				limit = fmt.Sprint(tier.PerMinute)
			}
			url := regexp.MustCompile(`Documented at (https://\S+?)( until 2021)?\.?\n`).FindStringSubmatch(docs[name])
			if url == nil {
				t.Errorf("%s.%s names no page", pkg, name)
				continue
			}
			link := fmt.Sprintf("[%s](%s)%s", url[1][strings.LastIndex(url[1], "/")+1:], url[1], url[2])
			if limit == "0" {
				t.Errorf("%s has no tier", m.api)
			}
			needs := ""
			if match := regexp.MustCompile(` needs (?:the scope )?(.*?)\.( |$)`).FindStringSubmatch(strings.Join(strings.Fields(docs[name]), " ")); match != nil {
				needs = match[1]
			}
			fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s | %s | %s |\n", m.api, goName, needs, flags[name], limit, again, link)
		}
	}
	if listed != len(conforming) {
		t.Errorf("%d methods are listed here, and the suite has %d", listed, len(conforming))
	}
	b.WriteString(`
Slack counts by method, workspace and app: [rate limits](https://docs.slack.dev/apis/web-api/rate-limits).
A Rocket.Chat server can be set up to allow more or fewer calls, and does not
limit its administrators, bots and apps. What each method answers where it refuses is in
[errors.md](errors.md).
`)
	return b.String()
}

// goNames makes what users type of the names in the suite.
var goNames = strings.NewReplacer("ConversationsService.", "client.Conversations.", "IMService.", "client.IM.", "Client.", "client.", "Login", "rocketchat.Login", "Resume", "rocketchat.Resume")

// TestMethodsAreComplete: what a method brings along beside its code, and no other
// test would miss.
func TestMethodsAreComplete(t *testing.T) {
	slack, rocket := chatdmtest.NewSlack(), chatdmtest.NewRocketChat()
	defer slack.Close()
	defer rocket.Close()
	readme, codes := read(t, "README.md"), documented(t)
	for name, m := range conforming {
		pkg, name, _ := strings.Cut(name, ".")
		if !strings.Contains(readme, "`"+goNames.Replace(name)+"`") && name != "Resume" {
			t.Errorf("%s.%s is not in the README's table", pkg, name)
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
			t.Errorf("%s.%s: chatdmtest answers %d %s", pkg, name, resp.StatusCode, body)
		}
		if m.service != "slack" {
			continue
		}
		if chatdm.SlackTiers()["slack."+m.api].PerMinute == 0 {
			t.Errorf("%s is not in SlackTiers", m.api)
		}
		if answers, _ := filepath.Glob("testdata/slack/" + m.api + "/*.response.http"); len(answers) == 0 {
			t.Errorf("%s has no answers in testdata", m.api)
		}
		if m.api == "conversations.list" { // which has a test of pages of its own
			continue
		}
		for _, common := range []chatdm.Code{
			chatdm.ErrNotAuthed, chatdm.ErrInvalidAuth, chatdm.ErrAccountInactive, chatdm.ErrTokenRevoked, chatdm.ErrMissingScope, chatdm.ErrRateLimited,
			chatdm.ErrRequestTimeout, chatdm.ErrServiceUnavailable, chatdm.ErrFatalError, chatdm.ErrInternalError,
		} {
			if !slices.Contains(codes[m.api], common) {
				t.Errorf("%s: documented_errors.json lacks %s, which every method answers", m.api, common)
			}
		}
	}
}

// documentation is the doc comments of a package's functions and methods, and
// the flags of their results.
func documentation(t *testing.T, dir string) (docs, flags map[string]string) {
	docs, flags = map[string]string{}, map[string]string{}
	fset := token.NewFileSet()
	var files []*ast.File
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	structs, results := map[string]string{}, map[string]string{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				name := n.Name.Name
				if n.Recv != nil {
					name = strings.TrimPrefix(types.ExprString(n.Recv.List[0].Type), "*") + "." + name
				}
				docs[name] = n.Doc.Text()
				if n.Type.Results != nil {
					results[name] = strings.TrimPrefix(types.ExprString(n.Type.Results.List[0].Type), "*")
				}
			case *ast.TypeSpec:
				s, ok := n.Type.(*ast.StructType)
				if !ok || !strings.HasSuffix(n.Name.Name, "Result") {
					return true
				}
				var names []string
				for _, field := range s.Fields.List {
					if types.ExprString(field.Type) == "bool" {
						for _, name := range field.Names {
							names = append(names, "`"+name.Name+"`")
						}
					}
				}
				structs[n.Name.Name] = strings.Join(names, ", ")
			}
			return true
		})
	}
	for name, result := range results {
		flags[name] = structs[result]
	}
	return docs, flags
}

// flat is Go source without its indentation.
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
