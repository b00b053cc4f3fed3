package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/chatdm/chatdm"
)

// report prints the results, and returns the exit code. An error says why
// the job stopped early.
func (p *program) report(j *job, stopped error) (int, error) {
	byOutcome := make(map[outcome][]result)
	for _, r := range j.results {
		byOutcome[r.outcome] = append(byOutcome[r.outcome], r)
	}
	var counts []string
	for _, o := range []outcome{reminded, found, before, unreachable, unknown, failed} {
		if n := len(byOutcome[o]); n > 0 {
			counts = append(counts, fmt.Sprint(n, " ", o))
		}
	}
	if n := len(j.people) - len(j.results); n > 0 {
		counts = append(counts, fmt.Sprint(n, " not yet reminded"))
	}
	fmt.Fprintf(p.stdout, "\n%s: %s.\n", count(len(j.people)), strings.Join(counts, ", "))
	for _, list := range []struct {
		outcome outcome
		title   string
	}{
		{unreachable, "Not reached:"},
		{unknown, "May have been reminded; run the same command again to find out:"},
		{failed, "Failed; run the same command again once the cause is fixed:"},
	} {
		if len(byOutcome[list.outcome]) > 0 {
			fmt.Fprintln(p.stdout, list.title)
		}
		for _, r := range byOutcome[list.outcome] {
			fmt.Fprintf(p.stdout, "  line %d, %s: %v\n", r.line, r.id, r.err)
		}
	}
	switch {
	case errors.Is(stopped, context.Canceled):
		return exitInterrupted, errors.New("interrupted; run the same command again to continue")
	case stopped != nil:
		return exitCode(stopped), fmt.Errorf("stopped: %w; run the same command again to continue", stopped)
	case len(byOutcome[reminded])+len(byOutcome[before])+len(byOutcome[found]) < len(j.people):
		return exitIncomplete, nil
	}
	return exitOK, nil
}

// exitCode returns the exit code for an error that stops the run.
func exitCode(err error) int {
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, chatdm.KindUnauthenticated), errors.Is(err, chatdm.KindPermissionDenied),
		errors.Is(err, chatdm.KindUnexpectedResponse): // probably a wrong URL
		return exitUsage
	}
	return exitIncomplete
}

// count returns a text like "2 people".
func count(people int) string {
	if people == 1 {
		return "1 person"
	}
	return fmt.Sprint(people, " people")
}
