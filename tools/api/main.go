// Command api holds the exported API against that of the last release, which
// is recorded in the folder api. It fails where a program that compiled against
// the release may no longer compile and CHANGELOG.md does not say so: where the
// section of what is unreleased has no "### Breaking" that names the symbol.
//
//	GOWORK=off go -C tools run ./api            # compares
//	GOWORK=off go -C tools run ./api -record    # records, on the day of a release
//
// The record is what the compiler writes of a package's types, without the
// places of the source. A Go too new to read it is no loss: record it again from
// the tag.
package main

import (
	"flag"
	"fmt"
	"go/token"
	"go/types"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/exp/apidiff"
	"golang.org/x/tools/go/gcexportdata"
	"golang.org/x/tools/go/packages"
)

// imported are the packages that users import, by the folders of their modules.
var imported = map[string][]string{
	".": {
		"github.com/chatdm/chatdm",
		"github.com/chatdm/chatdm/chatdmtest",
		"github.com/chatdm/chatdm/rocketchat",
	},
	"redislimit": {"github.com/chatdm/chatdm/redislimit"},
}

func main() {
	root := flag.String("root", "..", "the `folder` of the clone")
	record := flag.Bool("record", false, "record the API as that of a release")
	flag.Parse()
	breaks, err := run(*root, *record)
	for _, b := range breaks {
		fmt.Fprintln(os.Stderr, "breaks programs, and CHANGELOG.md does not say so:", b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
	}
	if err != nil || len(breaks) > 0 {
		os.Exit(1)
	}
}

// run returns the breaks that nobody announced.
func run(root string, record bool) (breaks []string, err error) {
	changelog, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return nil, err
	}
	announced := announcements(string(changelog))
	for dir, paths := range imported {
		pkgs, err := packages.Load(&packages.Config{
			Mode: packages.NeedName | packages.NeedTypes | packages.NeedSyntax | packages.NeedImports | packages.NeedDeps | packages.NeedTypesInfo,
			Dir:  filepath.Join(root, dir), Env: append(os.Environ(), "GOWORK=off"),
		}, paths...)
		if err != nil {
			return nil, err
		}
		for _, pkg := range pkgs {
			if len(pkg.Errors) > 0 {
				return nil, fmt.Errorf("%s: %w", pkg.PkgPath, pkg.Errors[0])
			}
			file := filepath.Join(root, "api", path.Base(pkg.PkgPath)+".export")
			if record {
				if err := write(file, pkg.Types); err != nil {
					return nil, err
				}
				continue
			}
			released, err := read(file, pkg.PkgPath)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			for _, change := range apidiff.Changes(released, pkg.Types).Changes {
				symbol, _, _ := strings.Cut(change.Message, ":")
				if !change.Compatible && !announced(path.Base(pkg.PkgPath)+"."+symbol) {
					breaks = append(breaks, pkg.PkgPath+": "+change.Message)
				}
			}
		}
	}
	return breaks, nil
}

// announcements tells which symbols the changelog names as breaking: in
// backquotes, like `chatdm.Code.Kind`.
func announcements(changelog string) func(symbol string) bool {
	_, text, _ := strings.Cut(changelog, "\n## [Unreleased]")
	text, _, _ = strings.Cut(text, "\n## ")
	_, text, _ = strings.Cut(text, "\n### Breaking")
	text, _, _ = strings.Cut(text, "\n### ")
	return func(symbol string) bool {
		return regexp.MustCompile("`" + regexp.QuoteMeta(symbol) + "`").MatchString(text)
	}
}

func write(file string, pkg *types.Package) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	// The empty FileSet leaves the places of the source out.
	if err := gcexportdata.Write(f, token.NewFileSet(), pkg); err != nil {
		return err
	}
	return f.Close()
}

func read(file, path string) (*types.Package, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return gcexportdata.Read(f, token.NewFileSet(), make(map[string]*types.Package), path)
}
