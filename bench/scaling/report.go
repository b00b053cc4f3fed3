package main

import (
	_ "embed"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// results are all that one run has found.
type results struct {
	Length       time.Duration // of the measurement on the clock
	PlotFile     string
	many         int
	load         string // of the machine, at the beginning
	redisVersion string

	sweeps  []swept
	runs    []*timed
	waiting []held
	// Bytes of one limiter that paces closes and opens, and of one client with
	// its TierLimiter.
	tierBytes, sharedBytes, clientBytes float64
	// Bytes in Redis of a workspace and method: with one call in the last
	// minute, and with as many as the tier allows.
	keyRest, keyClose, keyOpen float64
	scriptsFree                float64       // for a call that may go at once
	scriptTime                 time.Duration // of Redis's processor, for one script
}

//go:embed scaling.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// english sets thousands apart.
var english = message.NewPrinter(language.English)

// table is in Markdown, with columns that line up in a terminal, too. The first
// row is the head.
func table(rows ...[]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for i, row := range rows {
		fmt.Fprintf(w, "| %s\t|\n", strings.Join(row, "\t| "))
		if i == 0 {
			fmt.Fprintf(w, "|---%s\t|\n", strings.Repeat("\t|---:", len(row)-1))
		}
	}
	_ = w.Flush() // to memory
	return strings.TrimSpace(b.String())
}

// Sweeps is the table of the sweeps in fake time.
func (r *results) Sweeps() string {
	rows := [][]string{{"", "closed", "given up", "refusals", "took", "time ÷ least"}}
	for _, s := range r.sweeps {
		rows = append(rows, []string{
			s.Name, english.Sprint(s.Closed), english.Sprint(s.GivenUp), english.Sprint(s.Refused),
			s.Took.Round(time.Second).String(), fmt.Sprintf("%.3f", float64(s.Took)/float64(least(s.Closed))),
		})
	}
	return table(rows...)
}

// least is how long the server's windows make so many calls take: the last
// window need not end.
func least(calls int) time.Duration {
	return time.Duration((calls+perMinute-1)/perMinute-1) * time.Minute
}

// Runs is the table of the measurement on the clock.
func (r *results) Runs() string {
	rows := [][]string{{"", "calls done", "refusals", "given up", "Redis scripts", "for a call"}}
	for _, t := range r.runs {
		scripts, perCall := "", ""
		if t.scripts > 0 {
			scripts, perCall = english.Sprint(t.scripts), fmt.Sprintf("%.2f", t.scriptsPerCall())
		}
		rows = append(rows, []string{
			t.name, english.Sprint(len(t.done)), english.Sprint(len(t.refused)), english.Sprint(t.givenUp), scripts, perCall,
		})
	}
	return table(rows...)
}

func (t *timed) scriptsPerCall() float64 { return float64(t.scripts) / float64(max(1, len(t.done))) }

// Allowed is what the tier allows while it is measured on the clock.
func (r *results) Allowed() string { return english.Sprint(allowed(r.Length)) }

// allowed is how many calls windows of a minute have let pass at a time, the
// first of which begins at zero.
func allowed(at time.Duration) int {
	return perMinute * int((at+time.Minute-1)/time.Minute)
}

// Waiting is the table of what those who wait hold.
func (r *results) Waiting() string {
	rows := [][]string{{"bytes", "heap", "stack", "sum"}}
	for _, w := range r.waiting {
		rows = append(rows, []string{w.name, integer(w.heap), integer(w.stack), integer(w.heap + w.stack)})
	}
	return table(rows...)
}

func integer(v float64) string { return english.Sprintf("%.0f", v) }

// Things is the table of what limiters and keys take.
func (r *results) Things() string {
	return table(
		[]string{"", "bytes"},
		[]string{"TierLimiter, pacing closes and opens", integer(r.tierBytes)},
		[]string{"chatdmredis's Limiter, likewise", integer(r.sharedBytes)},
		[]string{"client with its TierLimiter, likewise", integer(r.clientBytes)},
		[]string{"in Redis, a workspace with one call of one method", integer(r.keyRest)},
		[]string{"in Redis, a workspace with a minute's 20 closes", integer(r.keyClose)},
		[]string{"in Redis, a workspace with a minute's 50 opens", integer(r.keyOpen)},
	)
}

// ScriptsFree is how often a call that may go at once goes to Redis.
func (r *results) ScriptsFree() string { return fmt.Sprintf("%.2f", r.scriptsFree) }

// ScriptMicros is what a script takes of Redis's processor, from the request to
// the answer.
func (r *results) ScriptMicros() string { return fmt.Sprintf("%.0f", r.scriptTime.Seconds()*1e6) }

// ScriptsPerSecond is how many scripts would keep one Redis busy.
func (r *results) ScriptsPerSecond() string { return roughly(1 / r.scriptTime.Seconds()) }

// roughly is a number of two digits and zeros, for what is not known better.
func roughly(v float64) string {
	unit := 1.0
	for v/unit >= 100 {
		unit *= 10
	}
	return integer(float64(int(v/unit+0.5)) * unit)
}

// Least is how long the server's windows make the sweeps take.
func (r *results) Least() string { return least(sweepTotal).String() }

// LoopRefusals is how often the loop was refused for each close.
func (r *results) LoopRefusals() string {
	s := r.sweep(nameLoop)
	return fmt.Sprintf("%.1f", float64(s.Refused)/float64(max(1, s.Closed)))
}

// OverTier is the time of TierLimiter's sweep in proportion to the simplest
// arithmetic.
func (r *results) OverTier() string {
	s := r.sweep(nameTier)
	return fmt.Sprintf("%.1f %%", 100*s.Took.Minutes()*perMinute/float64(max(1, s.Closed)))
}

// PerCallAlone and PerCallThree are the scripts for a call of busy processes.
func (r *results) PerCallAlone() string {
	return fmt.Sprintf("%.2f", r.run(nameAlone).scriptsPerCall())
}

func (r *results) PerCallThree() string {
	return fmt.Sprintf("%.2f", r.run(nameRedis).scriptsPerCall())
}

// Goroutines is how many there were on the clock.
func (r *results) Goroutines() int { return clockGoroutines }

// StartCalls is how many calls new limiters of the most workspaces let pass.
func (r *results) StartCalls() string {
	return english.Sprint(workspaces[len(workspaces)-1] * perMinute / 5)
}

// CallMicros and AnswerMillis are what Fleet assumes of a call.
func (r *results) CallMicros() int64   { return callCost.Microseconds() }
func (r *results) AnswerMillis() int64 { return callAnswer.Milliseconds() }

// Waiters is how many goroutines waited at once.
func (r *results) Waiters() string { return english.Sprint(r.many) }

var (
	messages   = []int{1e4, 1e5, 1e6, 1e7}
	workspaces = []int{1, 10, 100, 1000, 10000}
)

// Durations is the table of how long so many direct messages in so many
// workspaces take, all workspaces at the same time.
func (r *results) Durations(perMinute int) string {
	head := []string{"direct messages"}
	for _, w := range workspaces {
		head = append(head, english.Sprint(w)+" ws")
	}
	rows := [][]string{head}
	for _, n := range messages {
		row := []string{english.Sprint(n)}
		for _, w := range workspaces {
			row = append(row, span(time.Duration(n/w)*time.Minute/time.Duration(perMinute), n/w <= perMinute/5))
		}
		rows = append(rows, row)
	}
	return table(rows...)
}

// span is a duration as people say it.
func span(d time.Duration, atOnce bool) string {
	minutes := int(d.Round(time.Minute).Minutes())
	switch {
	case atOnce:
		return "at once"
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", minutes)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", minutes/60, minutes%60)
	case d < 14*24*time.Hour:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

// What the table of the fleet assumes of one call: the processor time is that
// of docs/performance.md, the time until the answer is an assumption.
const (
	callCost   = 35 * time.Microsecond
	callAnswer = 200 * time.Millisecond
)

// Fleet is the table of what so many workspaces need while all of them are
// closing.
func (r *results) Fleet() string {
	rows := [][]string{{"workspaces", "calls/s", "in flight", "of one core", "clients, MiB", "scripts/s, 1 process", "3 processes", "of one Redis", "Redis, MiB"}}
	alone, three := r.run(nameAlone).scriptsPerCall(), r.run(nameRedis).scriptsPerCall()
	for _, w := range workspaces {
		calls := float64(w) * perMinute / 60
		rows = append(rows, []string{
			english.Sprint(w), small(calls), small(calls * callAnswer.Seconds()), small(100*calls*callCost.Seconds()) + " %",
			small(float64(w) * r.clientBytes / (1 << 20)), small(calls * alone), small(calls * three),
			small(100*calls*three*r.scriptTime.Seconds()) + " %", small(float64(w) * r.keyClose / (1 << 20)),
		})
	}
	return table(rows...)
}

// small is a number of which a tenth is all that matters.
func small(v float64) string {
	switch {
	case v < 0.05:
		return "< 0.1"
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return integer(v)
}

func (r *results) run(name string) *timed {
	for _, t := range r.runs {
		if t.name == name {
			return t
		}
	}
	panic("nothing was measured of " + name)
}

func (r *results) sweep(name string) swept {
	for _, s := range r.sweeps {
		if s.Name == name {
			return s
		}
	}
	panic("nothing was measured of " + name)
}

// CoreWorkspaces is how many busy workspaces one core would serve.
func (r *results) CoreWorkspaces() string {
	return roughly(time.Minute.Seconds() / (perMinute * callCost.Seconds()))
}

// Machine is where it was measured, and with what.
func (r *results) Machine() string {
	slackGo := "of an unknown version"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/slack-go/slack" {
				slackGo = m.Version
			}
		}
	}
	return fmt.Sprintf("%s, %s/%s, %d cores, Redis %s, slack-go %s, load average %s at the beginning",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), r.redisVersion, slackGo, r.load)
}
