// Command install runs the given commands in a new module, which gets the released
// modules from a local proxy. Then it runs the first program in README.md there. This
// checks the documented commands before the version is tagged.
//
//	go -C internal/tools run ./install "go get github.com/chatdm/chatdm"
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/chatdm/chatdm/internal/tools/release"
)

func main() {
	if err := run("../..", os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		os.Exit(1)
	}
}

var (
	program = regexp.MustCompile("(?ms)^```go\n(package main\n.*?)^```$")
	version = regexp.MustCompile(`(?m)^const Version = "(.*)"$`)
)

func run(root string, commands []string) (err error) {
	source, err := find(filepath.Join(root, "internal", "engine", "config.go"), version)
	if err != nil {
		return err
	}
	code, err := find(filepath.Join(root, "README.md"), program)
	if err != nil {
		return err
	}
	modules, err := release.Modules(root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "install")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	proxy, module := filepath.Join(dir, "proxy"), filepath.Join(dir, "module")
	if err := writeProxy(root, proxy, "v"+source); err != nil {
		return err
	}
	if err := os.Mkdir(module, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(module, "main.go"), []byte(code), 0o644); err != nil {
		return err
	}

	settings, err := output(root, nil, "env", "GOMODCACHE", "GOPROXY")
	if err != nil {
		return err
	}
	cache, upstream, _ := strings.Cut(strings.TrimSpace(settings), "\n")
	env := []string{
		"GOPROXY=" + strings.Join([]string{fileURL(proxy), fileURL(filepath.Join(cache, "cache", "download")), upstream}, ","),
		// A separate cache keeps the unreleased version out of the user's cache.
		"GOMODCACHE=" + filepath.Join(dir, "cache"),
		"GOFLAGS=-modcacherw", "GONOSUMDB=github.com/chatdm/*", "GOWORK=off", "SLACK_TOKEN=",
	}
	for _, command := range slices.Concat([]string{"go mod init example.org/new"}, commands, []string{"go vet ."}) {
		fmt.Println(command)
		args, ok := strings.CutPrefix(command, "go ")
		if !ok {
			return fmt.Errorf("got command %q, want one of go", command)
		}
		if text, err := output(module, env, strings.Fields(args)...); err != nil {
			return fmt.Errorf("%s: %w\n%s", command, err, text)
		}
	}

	mod, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", mod)
	for path := range modules {
		if want := path + " v" + source; !strings.Contains(string(mod), want) {
			return fmt.Errorf("go.mod lacks %q", want)
		}
	}
	const want = "slack NewClient: invalid_request: token"
	text, err := output(module, env, "run", ".")
	fmt.Print("go run .\n", text)
	if err == nil || !strings.Contains(text, want) {
		return fmt.Errorf("the program in README.md succeeded without a token, or its output lacks %q", want)
	}
	return nil
}

// find returns the first group of the first match in a file.
func find(name string, pattern *regexp.Regexp) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	match := pattern.FindSubmatch(text)
	if match == nil {
		return "", fmt.Errorf("%s: no match for %s", name, pattern)
	}
	return string(match[1]), nil
}

// output runs the go command in dir and returns all that it prints.
func output(dir string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// fileURL returns the URL of a folder, on Windows too.
func fileURL(dir string) string {
	return (&url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(filepath.ToSlash(dir), "/")}).String()
}
