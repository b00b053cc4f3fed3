package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// compose sets the text of each person from the template in a file. A person who is on
// several lines gets one message, so their texts must be equal.
func compose(path string, people []person, rules *rules) ([]person, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// Without missingkey and the function index, a misspelled column would be empty.
	tmpl, err := template.New(filepath.Base(path)).Option("missingkey=error").Funcs(template.FuncMap{"index": index}).
		Parse(strings.TrimPrefix(string(content), "\ufeff"))
	if err != nil {
		return nil, err
	}
	var unique []person
	first := make(map[string]person)
	for _, p := range people {
		fail := func(err error) ([]person, error) {
			return nil, fmt.Errorf("the text for line %d, %s: %w", p.line, p.id, err)
		}
		values := make(map[string]any)
		for name, text := range p.columns {
			values[name] = rules.value(text)
		}
		var b strings.Builder
		if err := tmpl.Execute(&b, values); err != nil {
			return fail(fmt.Errorf("%w; the columns are %s", err, strings.Join(slices.Sorted(maps.Keys(p.columns)), ", ")))
		}
		p.text = strings.TrimSpace(b.String())
		if p.text == "" {
			return fail(errors.New("must not be empty"))
		}
		if size := rules.size(p.text); size > rules.maxSize {
			return fail(fmt.Errorf("got %d characters, want at most %d", size, rules.maxSize))
		}
		key := strings.ToLower(p.id)
		if same, ok := first[key]; !ok {
			first[key] = p
			unique = append(unique, p)
		} else if same.text != p.text {
			return fail(fmt.Errorf("differs from the text for line %d, the same person", same.line))
		}
	}
	return unique, nil
}

// index returns the value of a column whose name is not an identifier.
func index(values map[string]any, column string) (any, error) {
	value, ok := values[column]
	if !ok {
		return nil, fmt.Errorf("there is no column %q", column)
	}
	return value, nil
}
