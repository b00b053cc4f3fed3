package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// report prints the summary of a sweep that ended with err, and returns the exit
// code.
func (p *program) report(ctx context.Context, s *sweep, err error) (int, error) {
	sum := s.summary()
	switch {
	case sum.Pending == 0: // complete, even if something stopped the sweep at the end
		err = nil
		if len(sum.Failures) > 0 {
			sum.ExitCode = exitIncomplete
		}
	case ctx.Err() != nil:
		sum.Status, sum.ExitCode = "interrupted", exitInterrupted
		err = errors.New("interrupted")
	case s.journal.err != nil:
		sum.Status, sum.ExitCode = "journal_failed", exitUsage
	default:
		sum.Status, sum.ExitCode = "incomplete", exitIncomplete
		if s.denied {
			sum.ExitCode = exitDenied
		}
		if err == nil {
			err = errors.New("incomplete")
		}
	}
	if err != nil {
		err = fmt.Errorf("%w; %d IDs are pending: continue with -resume -journal %s", err, sum.Pending, p.journal)
	}
	if p.json != "-" {
		sum.table(p.stdout)
	}
	if jsonErr := p.writeJSON(sum); jsonErr != nil {
		return exitUsage, fmt.Errorf("cannot write the summary: %w", jsonErr)
	}
	return sum.ExitCode, err
}

// createJSON creates the file of -json, so that a bad path fails before the
// sweep rather than after it.
func (p *program) createJSON() error {
	if p.json == "" || p.json == "-" {
		return nil
	}
	file, err := os.OpenFile(p.json, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("-json: %w", err)
	}
	return file.Close()
}

func (p *program) writeJSON(sum *summary) error {
	switch p.json {
	case "":
		return nil
	case "-":
		return sum.json(p.stdout)
	}
	var text bytes.Buffer
	if err := sum.json(&text); err != nil {
		return err
	}
	return os.WriteFile(p.json, text.Bytes(), 0o600)
}

// outcomePending is the outcome of IDs without a result, which -resume closes.
const outcomePending = "pending"

// summary counts the IDs of a journal by outcome, in this run and earlier ones.
type summary struct {
	Total    int            `json:"total"`
	Pending  int            `json:"pending"`
	Outcomes map[string]int `json:"outcomes"` // of the IDs that are not pending
	Failures []failure      `json:"failures"` // all errors, and those of pending IDs in this run
	Status   string         `json:"status"`   // "complete", "incomplete", "interrupted", or "journal_failed"
	ExitCode int            `json:"exit_code"`
}

type failure struct {
	ID      string `json:"id"`
	Outcome string `json:"outcome"`
	Error   string `json:"error"`
}

func (s *sweep) summary() *summary {
	j := s.journal
	sum := &summary{
		Total: len(j.list.IDs), Pending: len(j.pending()), Outcomes: make(map[string]int), Failures: []failure{},
		Status: "complete", ExitCode: exitOK,
	}
	for _, id := range j.list.IDs {
		if result, ok := j.results[id]; ok {
			sum.Outcomes[result.Outcome]++
			if result.Error != "" {
				sum.Failures = append(sum.Failures, failure{id, result.Outcome, result.Error})
			}
		} else if err := s.failures[id]; err != nil {
			sum.Failures = append(sum.Failures, failure{id, outcomePending, err.Error()})
		}
	}
	return sum
}

// maxShown limits the failures in the table. JSON has them all.
const maxShown = 20

func (sum *summary) table(out io.Writer) {
	for i, f := range sum.Failures {
		if i == maxShown {
			fmt.Fprintf(out, "… and %d more; -json lists them all\n", len(sum.Failures)-i)
			break
		}
		fmt.Fprintf(out, "%s: %s\n", f.ID, f.Error)
	}
	if len(sum.Failures) > 0 {
		fmt.Fprintln(out)
	}
	// The closed IDs first, then the errors by name.
	names := slices.SortedFunc(maps.Keys(sum.Outcomes), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	table := tabwriter.NewWriter(out, 0, 0, 0, ' ', tabwriter.AlignRight)
	row := func(n int, name string) { fmt.Fprintf(table, "%d\t  %s\n", n, strings.ReplaceAll(name, "_", " ")) }
	for _, name := range names {
		row(sum.Outcomes[name], name)
	}
	if sum.Pending > 0 {
		row(sum.Pending, outcomePending)
	}
	row(sum.Total, "in total")
	_ = table.Flush() // like the writes above, fails only if out cannot be written
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
