// Command api writes the exported API of every released package to the folder
// api, one line per name, so that code reviews show each change to the API.
//
//	go -C internal/tools run ./api
package main

import (
	"errors"
	"flag"
	"fmt"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"

	"github.com/chatdm/chatdm/internal/tools/release"
)

func main() {
	to := flag.String("to", "../..", "the root `folder` of the clone to write to")
	flag.Parse()
	if err := run("../..", *to); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

func run(root, to string) error {
	modules, err := release.Modules(root)
	if err != nil {
		return err
	}
	files := make(map[string][]byte)
	for _, dir := range modules {
		pkgs, err := packages.Load(&packages.Config{
			Mode: packages.NeedName | packages.NeedTypes | packages.NeedImports, Dir: dir, Env: append(os.Environ(), "GOWORK=off"),
		}, "./...")
		if err != nil {
			return err
		}
		for _, pkg := range pkgs {
			if len(pkg.Errors) > 0 {
				return fmt.Errorf("%s: %w", pkg.PkgPath, pkg.Errors[0])
			}
			if pkg.Name != "main" && !strings.Contains(pkg.PkgPath, "/internal/") {
				files[pkg.Name+".txt"] = []byte(strings.Join(lines(pkg.Types), "\n") + "\n")
			}
		}
	}
	// Replace the folder, to remove the files of packages that no longer exist.
	out := filepath.Join(to, "api")
	err = errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o755))
	for name, text := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(out, name), text, 0o644))
	}
	return err
}

// lines returns one line for each exported name of pkg, in sorted order.
func lines(pkg *types.Package) (all []string) {
	qualify := func(other *types.Package) string {
		if other == pkg {
			return ""
		}
		return other.Name()
	}
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	text := func(t types.Type) string { return types.TypeString(t, qualify) }
	signature := func(f types.Object) string { return f.Name() + strings.TrimPrefix(text(f.Type()), "func") }
	for _, name := range pkg.Scope().Names() {
		if !token.IsExported(name) {
			continue
		}
		switch obj := pkg.Scope().Lookup(name).(type) {
		case *types.Const:
			add("const %s %s = %s", name, text(obj.Type()), obj.Val().ExactString())
		case *types.Var:
			add("var %s %s", name, text(obj.Type()))
		case *types.Func:
			add("func %s", signature(obj))
		case *types.TypeName:
			if obj.IsAlias() {
				add("type %s = %s", name, text(types.Unalias(obj.Type())))
				continue
			}
			switch t := obj.Type().Underlying().(type) {
			case *types.Struct:
				add("type %s struct", name)
				for i := range t.NumFields() {
					if field := t.Field(i); field.Exported() {
						add("%s", strings.TrimSuffix(fmt.Sprintf("type %s struct, %s %s `%s`", name, field.Name(), text(field.Type()), t.Tag(i)), " ``"))
					}
				}
			case *types.Interface:
				add("type %s interface", name)
				for method := range t.Methods() {
					add("type %s interface, %s", name, signature(method))
				}
			default:
				add("type %s %s", name, text(t))
			}
			// A method set includes the methods that an embedded field promotes.
			for method := range types.NewMethodSet(types.NewPointer(obj.Type())).Methods() {
				receiver := name
				if types.NewMethodSet(obj.Type()).Lookup(pkg, method.Obj().Name()) == nil {
					receiver = "*" + name
				}
				if method.Obj().Exported() {
					add("method (%s) %s", receiver, signature(method.Obj()))
				}
			}
		}
	}
	slices.Sort(all)
	return all
}
