// Command record runs the lifecycle example and generates docs/lifecycle.svg, an
// animated recording of its output.
//
//	go -C internal/tools run ./record
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"
)

const prompt, command = "$ ", "go run ./examples/lifecycle"

// The size of the screen in characters, and of a character in pixels. The sizes in
// recording.svg depend on it.
const (
	columns, rows         = 94, 23
	charWidth, lineHeight = 8.43, 20
)

// The program prints most lines at once. These delays give people time to read them.
const (
	typingStart = 500 * time.Millisecond
	typingTime  = 1500 * time.Millisecond
	startDelay  = 600 * time.Millisecond
	stepDelay   = 600 * time.Millisecond
	lineDelay   = 250 * time.Millisecond
)

func main() {
	to := flag.String("to", "../..", "the root `folder` of the clone to write to")
	flag.Parse()
	if err := run("../..", *to); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run(root, to string) error {
	cmd := exec.CommandContext(context.Background(), "go", strings.Fields(command)[1:]...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	// With SLACK_TOKEN, the example would run on the real Slack.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "SLACK_") })
	output, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	image, err := render(layout(string(output)))
	if err != nil {
		return err
	}
	name := filepath.Join(to, "docs", "lifecycle.svg")
	return errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, image, 0o644))
}

// line is a line of the screen. It appears at a time after the start.
type line struct {
	Text, Class string
	At          time.Duration
}

var (
	port       = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	timestamp  = regexp.MustCompile(`"(created|updated)":\d+`)
	step       = regexp.MustCompile(`^\d+\. `)
	retryAfter = regexp.MustCompile(`, Retry-After: (\d+)$`)
)

// layout turns the output of the command into lines that fit the screen and are the
// same for each run.
func layout(output string) []line {
	lines := []line{{Text: prompt + command, Class: "command"}}
	at := typingStart + typingTime + startDelay
	for text := range strings.SplitSeq(strings.TrimSpace(output), "\n") {
		text = port.ReplaceAllString(text, "127.0.0.1:8080")
		text = timestamp.ReplaceAllString(text, `"$1":1767225600`)
		class := "result"
		switch {
		case step.MatchString(text):
			class = "step"
			at += stepDelay
		case strings.HasPrefix(text, "   > "):
			class = "request"
		case strings.HasPrefix(text, "   < 200 ") && !strings.Contains(text, `"ok":false`):
			class = "success"
		case strings.HasPrefix(text, "   < "):
			class = "failure"
		}
		for _, part := range fit(text) {
			lines = append(lines, line{part, class, at})
		}
		at += lineDelay
		// The real client waits here, so the recording waits too.
		if match := retryAfter.FindStringSubmatch(text); match != nil {
			wait, _ := time.ParseDuration(match[1] + "s")
			at += wait
		}
	}
	return append(lines, line{prompt, "command", at + stepDelay})
}

// fit wraps text. It cuts text that contains JSON or has no space to wrap at.
func fit(text string) []string {
	const indent = "     "
	var parts []string
	for utf8.RuneCountInString(text) > columns {
		space := strings.LastIndex(string([]rune(text)[:columns+1]), " ")
		if space < len(indent) || strings.Contains(text, "{") {
			text = string([]rune(text)[:columns-1]) + "…"
			break
		}
		parts = append(parts, text[:space])
		text = indent + text[space+1:]
	}
	return append(parts, text)
}

//go:embed recording.svg
var recording string

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// render returns the lines as an SVG. Without animations, it shows the last frame.
func render(lines []line) ([]byte, error) {
	last, end := len(lines)-1, lines[len(lines)-1].At
	x := func(text string) string { return fmt.Sprintf("%.2f", float64(utf8.RuneCountInString(text))*charWidth) }
	trim := func(text string) string { return strings.TrimLeft(text, " ") }
	image := template.Must(template.New("").Funcs(template.FuncMap{
		"x": x, "trim": trim, "escape": escape.Replace,
		"indent":  func(text string) string { return x(strings.TrimSuffix(text, trim(text))) },
		"y":       func(row int) int { return row * lineHeight },
		"scroll":  func(row int) int { return min(0, rows-1-row) * lineHeight },
		"percent": func(at time.Duration) string { return fmt.Sprintf("%.2f%%", 100*at.Seconds()/end.Seconds()) },
	}).Parse(recording))
	var out bytes.Buffer
	err := image.Execute(&out, map[string]any{
		"Lines": lines, "Rows": rows, "LastRow": last, "End": end, "Prompt": prompt, "Command": command,
		"TypingStart": typingStart, "TypingTime": typingTime, "Output": lines[1].At,
	})
	return out.Bytes(), err
}
