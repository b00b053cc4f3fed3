// Command proxy writes a module proxy, as a folder for a file:// URL, with those
// modules of this clone that users import, as they would be released at a version:
// so that what a user types can be tried before the tags are there.
//
//	GOWORK=off go -C tools run ./proxy -to DIR -version v0.1.0
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// released are the modules with tags of their own, by their folders.
var released = map[string]string{
	".":          "github.com/chatdm/chatdm",
	"redislimit": "github.com/chatdm/chatdm/redislimit",
}

func main() {
	from := flag.String("from", "..", "the root of the clone")
	to := flag.String("to", "", "the `folder` of the proxy")
	version := flag.String("version", "", "the version of all modules")
	flag.Parse()
	if *to == "" || *version == "" {
		flag.Usage()
		os.Exit(2)
	}
	for dir, path := range released {
		if err := write(filepath.Join(*from, dir), *to, module.Version{Path: path, Version: *version}); err != nil {
			fmt.Fprintln(os.Stderr, "proxy:", err)
			os.Exit(1)
		}
	}
}

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
		"list": []byte(m.Version + "\n"), m.Version + ".mod": mod, m.Version + ".info": fmt.Appendf(nil, "{%q: %q}", "Version", m.Version),
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
