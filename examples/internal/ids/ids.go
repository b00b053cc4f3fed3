// Package ids reads lists of conversation IDs.
package ids

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Read reads one ID from each line. It ignores empty lines, comments that start
// with #, and duplicates.
func Read(in io.Reader) ([]string, error) {
	var ids []string
	seen := make(map[string]bool)
	lines := bufio.NewScanner(in)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		if number == 1 {
			line = strings.TrimPrefix(line, "\ufeff") // some editors write a byte order mark
		}
		id, _, _ := strings.Cut(line, "#")
		id = strings.TrimSpace(id)
		if id == "" || seen[id] {
			continue
		}
		if len(id) > 100 || strings.ContainsFunc(id, notIDChar) {
			return nil, fmt.Errorf("line %d: %.100q is not a conversation ID", number, id)
		}
		seen[id] = true
		ids = append(ids, id)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if ids == nil {
		return nil, errors.New("contains no ID")
	}
	return ids, nil
}

func notIDChar(r rune) bool { return !('A' <= r && r <= 'Z' || '0' <= r && r <= '9') }
