// Package ids reads lists of conversations.
package ids

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Read takes one id from each line. Empty lines and what follows a # do not
// count, and an id that comes again counts once.
func Read(in io.Reader) ([]string, error) {
	var ids []string
	seen := make(map[string]bool)
	lines := bufio.NewScanner(in)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		if number == 1 {
			line = strings.TrimPrefix(line, "\ufeff") // as some editors begin a file
		}
		id, _, _ := strings.Cut(line, "#")
		id = strings.TrimSpace(id)
		if id == "" || seen[id] {
			continue
		}
		if len(id) > 100 || strings.ContainsFunc(id, notIDChar) {
			return nil, fmt.Errorf("line %d: %.100q is no id of a conversation", number, id)
		}
		seen[id] = true
		ids = append(ids, id)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if ids == nil {
		return nil, errors.New("holds no id")
	}
	return ids, nil
}

func notIDChar(r rune) bool { return !('A' <= r && r <= 'Z' || '0' <= r && r <= '9') }
