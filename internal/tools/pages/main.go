// Command pages generates docs/errors.md and docs/methods.md from the doc comments,
// the catalogue of error codes, the rate limits, and the codes that the vendors
// document.
//
//	go -C internal/tools run ./pages
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/types"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	to := flag.String("to", "../..", "the root `folder` of the clone to write to")
	flag.Parse()
	if err := run("../..", *to); err != nil {
		fmt.Fprintln(os.Stderr, "pages:", err)
		os.Exit(1)
	}
}

func run(root, to string) error {
	slack, err := load(root, ".", "slack")
	if err != nil {
		return err
	}
	rocketChat, err := load(root, "./rocketchat", "rocketchat")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(to, "docs"), 0o755); err != nil {
		return err
	}
	for name, write := range map[string]func(slack, rocketChat *source) (string, error){
		"errors.md": errorsPage, "methods.md": methodsPage,
	} {
		page, err := write(slack, rocketChat)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(to, "docs", name), []byte(page), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// source holds the data about one platform that the pages need.
type source struct {
	*packages.Package
	// docs holds the doc comments of functions, methods ("Client.Call"), and
	// constants, each on one line.
	docs map[string]string
	// documented holds the error codes that the vendor documents, by method.
	documented map[string][]string
}

func load(root, pattern, platform string) (*source, error) {
	pkgs, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports,
		Dir:  root, Env: append(os.Environ(), "GOWORK=off"),
	}, pattern)
	if err != nil {
		return nil, err
	}
	pkg := pkgs[0]
	if len(pkg.Errors) > 0 {
		return nil, fmt.Errorf("%s: %w", pkg.PkgPath, pkg.Errors[0])
	}
	src := &source{Package: pkg, docs: make(map[string]string)}
	for _, file := range pkg.Syntax {
		for node := range ast.Preorder(file) {
			switch node := node.(type) {
			case *ast.FuncDecl:
				name := node.Name.Name
				if node.Recv != nil {
					name = strings.TrimPrefix(types.ExprString(node.Recv.List[0].Type), "*") + "." + name
				}
				src.docs[name] = flat(node.Doc)
			case *ast.ValueSpec:
				src.docs[node.Names[0].Name] = flat(node.Doc)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "testdata", platform, "documented_errors.json"))
	if err != nil {
		return nil, err
	}
	return src, json.Unmarshal(text, &src.documented)
}

// flat returns a comment as one line, without the brackets of doc links.
func flat(comment *ast.CommentGroup) string {
	return strings.Join(strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(comment.Text())), " ")
}
