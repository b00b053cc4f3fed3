// Command proxy writes a module proxy to a folder, for a GOPROXY with a file:// URL.
// The proxy serves the released modules of this clone at the given version. With it,
// .ci/run can test the documented commands before the version is tagged.
//
//	go -C internal/tools run ./proxy -to DIR -version v0.1.0
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/chatdm/chatdm/internal/tools/release"
)

func main() {
	from := flag.String("from", "../..", "the root `folder` of the clone")
	to := flag.String("to", "", "the `folder` to write the proxy to")
	version := flag.String("version", "", "the `version` of every module")
	flag.Parse()
	if *to == "" || *version == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*from, *to, *version); err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		os.Exit(1)
	}
}

func run(from, to, version string) error {
	modules, err := release.Modules(from)
	if err != nil {
		return err
	}
	for path, dir := range modules {
		if err := write(dir, to, module.Version{Path: path, Version: version}); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// write adds the module in dir to the proxy in to.
func write(dir, to string, m module.Version) error {
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
