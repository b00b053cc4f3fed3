package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// summary is what has become of all ids of a journal, in this run and before.
type summary struct {
	Total    int            `json:"total"`
	Left     int            `json:"left"`     // without an answer: -resume asks them
	Outcomes map[string]int `json:"outcomes"` // of the others
	Failures []failure      `json:"failures"` // the ids that are not closed, as far as known
	Ended    string         `json:"ended"`    // "complete", or why not
	ExitCode int            `json:"exit_code"`
}

type failure struct {
	ID      string `json:"id"`
	Outcome string `json:"outcome"` // "left" without an answer
	Error   string `json:"error"`
}

func (s *sweep) summary() *summary {
	left := s.journal.left()
	sum := &summary{
		Total: len(s.journal.list.IDs), Left: len(left), Outcomes: make(map[string]int), Failures: []failure{},
		Ended: "complete",
	}
	for _, id := range s.journal.list.IDs {
		if answer, ok := s.journal.answers[id]; ok {
			sum.Outcomes[answer.Outcome]++
			if answer.Error != "" {
				sum.Failures = append(sum.Failures, failure{id, answer.Outcome, answer.Error})
			}
		} else if err := s.unanswered[id]; err != nil {
			sum.Failures = append(sum.Failures, failure{id, "left", err.Error()})
		}
	}
	return sum
}

// shown is how many failures the table has; JSON has them all.
const shown = 20

func (sum *summary) table(out io.Writer) {
	for i, f := range sum.Failures {
		if i == shown {
			fmt.Fprintf(out, "… and %d more, which -json lists\n", len(sum.Failures)-i)
			break
		}
		fmt.Fprintf(out, "%s: %s\n", f.ID, f.Error)
	}
	if len(sum.Failures) > 0 {
		fmt.Fprintln(out)
	}
	// What is closed first, then the failures, each by name.
	names := slices.SortedFunc(maps.Keys(sum.Outcomes), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	table := tabwriter.NewWriter(out, 0, 0, 0, ' ', tabwriter.AlignRight)
	row := func(n int, name string) { fmt.Fprintf(table, "%d\t  %s\n", n, strings.ReplaceAll(name, "_", " ")) }
	for _, name := range names {
		row(sum.Outcomes[name], name)
	}
	if sum.Left > 0 {
		row(sum.Left, "left")
	}
	row(sum.Total, "in all")
	_ = table.Flush() // as with the lines above
}

func rank(outcome string) int {
	if at := slices.Index([]string{closed, alreadyClosed, closedEarlier}, outcome); at >= 0 {
		return at
	}
	return 3
}

func (sum *summary) json(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(sum)
}
