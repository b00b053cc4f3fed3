// Package release lists the modules of this repository that are released.
package release

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// unreleased lists the folders whose modules are not released.
var unreleased = []string{"bench", "examples", "internal", "interop"}

// Modules returns the released modules below root. It maps the path of each module to
// its folder.
func Modules(root string) (map[string]string, error) {
	modules := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.IsDir() && d.Name() == "go.mod":
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			modules[modfile.ModulePath(text)] = filepath.Dir(path)
		case d.IsDir() && path != root && (slices.Contains(unreleased, d.Name()) || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		}
		return nil
	})
	return modules, err
}
