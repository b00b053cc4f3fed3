package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// output1 and output2 are from two runs of the same program.
const (
	output1 = "Listening on http://127.0.0.1:40655/api.\n\n1. Open & close <it>\n   > POST /api/open  a=1&b=2\n" +
		`   < 200 OK  {"ok":true,"created":1795651024,"updated":1795651024509}` + "\n   < 429 Too Many Requests, Retry-After: 2\n   Done.\n"
	output2 = "Listening on http://127.0.0.1:8123/api.\n\n1. Open & close <it>\n   > POST /api/open  a=1&b=2\n" +
		`   < 200 OK  {"ok":true,"created":1795651026,"updated":1795651026705}` + "\n   < 429 Too Many Requests, Retry-After: 2\n   Done.\n"
)

func TestLayout(t *testing.T) {
	lines := layout(output1)
	if !slices.Equal(lines, layout(output2)) {
		t.Errorf("got different lines for two runs:\n%v\n%v", lines, layout(output2))
	}
	var classes []string
	for _, l := range lines {
		classes = append(classes, l.Class)
	}
	want := []string{"command", "result", "result", "step", "request", "success", "failure", "result", "command"}
	if !slices.Equal(classes, want) {
		t.Errorf("got classes %q, want %q", classes, want)
	}
	if got, want := lines[7].At-lines[6].At, 2*time.Second+lineDelay; got != want {
		t.Errorf("after Retry-After: 2: got a delay of %v, want %v", got, want)
	}
}

func TestFit(t *testing.T) {
	words := strings.Repeat("words ", 30) + "end"
	for _, tt := range []struct {
		text string
		want int
	}{
		{"", 1},
		{strings.Repeat("é", columns), 1},
		{strings.Repeat("x", columns+1), 1},
		{words, 3},
		{`{"ok":true,"text":"` + words + `"}`, 1},
	} {
		parts := fit(tt.text)
		if len(parts) != tt.want {
			t.Errorf("%q: got %q, want %d lines", tt.text, parts, tt.want)
		}
		for _, part := range parts {
			if n := utf8.RuneCountInString(part); n > columns {
				t.Errorf("%q: got a line of %d characters, want at most %d", tt.text, n, columns)
			}
		}
		if got := strings.Join(strings.Fields(strings.Join(parts, " ")), " "); got != tt.text && !strings.HasSuffix(got, "…") {
			t.Errorf("got %q, want the words of %q", got, tt.text)
		}
	}
}

// TestRecording checks the committed recording against the limits of GitHub and of
// its readers.
func TestRecording(t *testing.T) {
	image, err := os.ReadFile("../../../docs/lifecycle.svg")
	if err != nil {
		t.Fatal(err)
	}
	if len(image) > 60_000 {
		t.Errorf("got %d bytes, want at most 60,000", len(image))
	}
	for _, dynamic := range []string{"<script", "<foreignObject", "href", "@import", "@font-face", "url("} {
		if bytes.Contains(image, []byte(dynamic)) {
			t.Errorf("got %s, which GitHub does not load in an image", dynamic)
		}
	}
	for _, match := range regexp.MustCompile(`(\d+)ms`).FindAllSubmatch(image, -1) {
		if ms, _ := strconv.Atoi(string(match[1])); ms > 25_000 {
			t.Errorf("got an animation of %d ms, want at most 25,000", ms)
		}
	}
	const background = "#161b22"
	for _, match := range regexp.MustCompile(`fill:(#\w+)`).FindAllSubmatch(image, -1) {
		if got := contrast(string(match[1]), background); got < 4.5 {
			t.Errorf("%s on %s: got a contrast of %.1f, want at least 4.5", match[1], background, got)
		}
	}
	var screens []float64
	for decoder := xml.NewDecoder(bytes.NewReader(image)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		number := func(name string) (f float64) {
			for _, attr := range element.Attr {
				if attr.Name.Local == name {
					f, _ = strconv.ParseFloat(attr.Value, 64)
				}
			}
			return f
		}
		switch element.Name.Local {
		case "svg":
			screens = append(screens, number("width"), number("height"))
		case "text":
			if end := number("x") + number("textLength"); end > screens[2] {
				t.Errorf("a text ends at %.0f px, want at most %.0f", end, screens[2])
			}
		}
	}
	if len(screens) != 4 || screens[3] != rows*lineHeight || screens[2] < columns*charWidth {
		t.Errorf("got widths and heights %v, want %d lines of %d characters", screens, rows, columns)
	}
}

// contrast returns the contrast ratio of two colors, as WCAG defines it.
func contrast(a, b string) float64 {
	luminance := func(color string) (l float64) {
		n, _ := strconv.ParseUint(color[1:], 16, 32)
		for i, weight := range []float64{0.0722, 0.7152, 0.2126} {
			c := float64(n>>(8*i)&0xff) / 255
			if c <= 0.04045 {
				c /= 12.92
			} else {
				c = math.Pow((c+0.055)/1.055, 2.4)
			}
			l += weight * c
		}
		return l
	}
	high, low := max(luminance(a), luminance(b)), min(luminance(a), luminance(b))
	return (high + 0.05) / (low + 0.05)
}
