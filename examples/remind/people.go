package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// rules are what a platform requires of the input.
type rules struct {
	column  string                   // with the people
	valid   func(person string) bool // reports whether this can be a person
	value   func(text string) any    // for the template
	size    func(text string) int    // in the unit of maxSize
	maxSize int                      // of a text
	// restarted returns what to tell the user after a restart.
	restarted func(since time.Time, settle time.Duration) string
}

// person is a line of the CSV.
type person struct {
	id      string // the email address or username
	line    int
	columns map[string]string
	text    string // of the message
}

// readPeople reads a CSV file. It separates columns with commas, or with semicolons if the
// first line has no comma.
func readPeople(path string, rules *rules) ([]person, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff")) // some editors write a byte order mark
	if !utf8.Valid(content) {
		return nil, fmt.Errorf("%s: must be UTF-8; save it as \"CSV UTF-8\"", path)
	}
	rows := csv.NewReader(bytes.NewReader(content))
	rows.TrimLeadingSpace = true
	if first, _, _ := bytes.Cut(content, []byte("\n")); !bytes.Contains(first, []byte(",")) && bytes.Contains(first, []byte(";")) {
		rows.Comma = ';'
	}

	var people []person
	header, at := []string{rules.column}, 0 // the names of the columns, and which has the people
	for number := 0; ; number++ {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		line, _ := rows.FieldPos(0)
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		if i := slices.IndexFunc(row, func(name string) bool { return strings.EqualFold(name, rules.column) }); number == 0 && i >= 0 {
			header, at = row, i
			header[i] = rules.column
			for i, name := range header {
				if name != "" && slices.Contains(header[:i], name) {
					return nil, fmt.Errorf("%s: two columns are named %q", path, name)
				}
			}
			continue
		}
		p := person{id: row[at], line: line, columns: make(map[string]string)}
		if !rules.valid(p.id) {
			want := "an " + rules.column + " address"
			if rules.column == "username" {
				want = "a username"
			}
			if number == 0 {
				want += fmt.Sprintf(", or a header with the column %q", rules.column)
			}
			return nil, fmt.Errorf("%s: line %d: got %.100q, want %s", path, line, p.id, want)
		}
		for i, name := range header {
			p.columns[name] = row[i]
		}
		people = append(people, p)
	}
	if people == nil {
		return nil, fmt.Errorf("%s: contains no people", path)
	}
	return people, nil
}
