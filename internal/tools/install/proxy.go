package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/chatdm/chatdm/internal/tools/release"
)

// writeProxy writes a module proxy to the folder to, for a GOPROXY with a file URL.
// It serves the released modules of the clone in from.
func writeProxy(from, to, version string) error {
	modules, err := release.Modules(from)
	if err != nil {
		return err
	}
	for path, dir := range modules {
		if err := writeModule(dir, to, module.Version{Path: path, Version: version}); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// writeModule adds the module in dir to the proxy in to.
func writeModule(dir, to string, m module.Version) error {
	to = filepath.Join(to, filepath.FromSlash(m.Path), "@v")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"list":              []byte(m.Version + "\n"),
		m.Version + ".mod":  mod,
		m.Version + ".info": fmt.Appendf(nil, "{%q: %q}", "Version", m.Version),
	} {
		if err := os.WriteFile(filepath.Join(to, name), text, 0o644); err != nil {
			return err
		}
	}
	file, err := os.Create(filepath.Join(to, m.Version+".zip"))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := zip.CreateFromDir(file, m, dir); err != nil {
		return err
	}
	return file.Close()
}
