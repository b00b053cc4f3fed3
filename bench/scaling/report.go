package main

import (
	_ "embed"
	"fmt"
	"text/template"
	"time"

	"github.com/chatdm/chatdm/bench/internal/report"
)

const (
	perMinute = 20 // closes, as Slack documents it
	perOpen   = 50

	nameNone  = "chatdm, no limiter"
	nameTier  = "chatdm, TierLimiter"
	nameRetry = "slack-go, OptionRetry(3)"
	nameLoop  = "slack-go, a loop around it"
	nameRedis = "chatdm, chatdmredis, 3 processes"
	nameAlone = "chatdm, chatdmredis, 1 process"

	sweepTotal, sweepGoroutines = 2000, 50

	clockGoroutines = 48 // in all processes of a contender

	fleetWorkers, fleetTasks = 50, 200
	simulatedMinutes         = 3
)

// results are the measurements. The tests write them as JSON.
type results struct {
	Length                     time.Duration // of the measurement in real time
	Many                       int           // goroutines, limiters, and keys
	Machine, Version, PlotFile string
	RedisVersion               string
	Swept                      []sweepResult
	Clock                      []*clockRun
	Held                       []heldBytes
	TierBytes, SharedBytes     float64       // of a limiter of closes and opens
	ClientBytes                float64       // of a client with its TierLimiter
	KeyRest, KeyClose, KeyOpen float64       // bytes in Redis for one call, 20 closes, and 50 opens
	ScriptsPerFreeCall         float64       // for a call that does not wait
	ScriptTime                 time.Duration // processor time of Redis for one script
	Simulated                  []simulation
	FleetIdle, FleetScripts    float64 // commands and scripts per second of fleetWorkers
	FleetTask                  float64 // commands of a task
}

// simulation is the result of workspaces in fake time.
type simulation struct {
	Workspaces, Minutes, Done, Refused int
	Retained, Waiting                  float64 // bytes for each workspace
}

// sweepResult is the result of a sweep in fake time.
type sweepResult struct {
	Name                     string
	Closed, GivenUp, Refused int
	Took                     time.Duration
}

// clockRun is the result of a contender in real time.
type clockRun struct {
	Name             string
	Done, Refused    []time.Duration // since the start, as the server saw them
	GivenUp, Scripts int
}

// heldBytes is the memory of one waiting goroutine.
type heldBytes struct {
	Name        string
	Heap, Stack float64
}

//go:embed scaling.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"count": count, "allowed": allowed}).Parse(pageText))

var integer = report.Integer

// count formats a number with separators between thousands.
func count(n int) string { return report.English.Sprint(n) }

// Sweeps returns the table of the sweeps in fake time.
func (r *results) Sweeps() string {
	rows := [][]string{{"", "closed", "given up", "refusals", "took", "time ÷ least"}}
	for _, s := range r.Swept {
		rows = append(rows, []string{
			s.Name, count(s.Closed), count(s.GivenUp), count(s.Refused),
			s.Took.Round(time.Second).String(), fmt.Sprintf("%.3f", float64(s.Took)/float64(least(s.Closed))),
		})
	}
	return report.Table(rows...)
}

// least returns the minimum time of the calls. The last window need not end.
func least(calls int) time.Duration {
	return time.Duration((calls+perMinute-1)/perMinute-1) * time.Minute
}

// Runs returns the table of the measurement in real time.
func (r *results) Runs() string {
	rows := [][]string{{"", "calls done", "refusals", "given up", "Redis scripts", "for a call"}}
	for _, t := range r.Clock {
		scripts, perCall := "", ""
		if t.Scripts > 0 {
			scripts, perCall = count(t.Scripts), fmt.Sprintf("%.2f", r.PerCall(t.Name))
		}
		rows = append(rows, []string{
			t.Name, count(len(t.Done)), count(len(t.Refused)), count(t.GivenUp), scripts, perCall,
		})
	}
	return report.Table(rows...)
}

// PerCall returns the scripts on Redis per call of a contender.
func (r *results) PerCall(name string) float64 {
	t := r.run(name)
	return float64(t.Scripts) / float64(max(1, len(t.Done)))
}

// allowed returns how many calls the limit allows until a time. The first window
// begins at zero.
func allowed(at time.Duration) int {
	return perMinute * int((at+time.Minute-1)/time.Minute)
}

// Waiting returns the table of the memory of waiting goroutines.
func (r *results) Waiting() string {
	rows := [][]string{{"bytes", "heap", "stack", "sum"}}
	for _, w := range r.Held {
		rows = append(rows, []string{w.Name, integer(w.Heap), integer(w.Stack), integer(w.Heap + w.Stack)})
	}
	return report.Table(rows...)
}

// Things returns the table of the memory of limiters and keys.
func (r *results) Things() string {
	return report.Table(
		[]string{"", "bytes"},
		[]string{"TierLimiter, pacing closes and opens", integer(r.TierBytes)},
		[]string{"chatdmredis's Limiter, likewise", integer(r.SharedBytes)},
		[]string{"client with its TierLimiter, likewise", integer(r.ClientBytes)},
		[]string{"in Redis, a workspace with one call of one method", integer(r.KeyRest)},
		[]string{"in Redis, a workspace with a minute's 20 closes", integer(r.KeyClose)},
		[]string{"in Redis, a workspace with a minute's 50 opens", integer(r.KeyOpen)},
	)
}

// ScriptsPerSecond returns how many scripts keep one Redis busy.
func (r *results) ScriptsPerSecond() string { return roughly(1 / r.ScriptTime.Seconds()) }

// roughly rounds to two digits.
func roughly(v float64) string {
	unit := 1.0
	for v/unit >= 100 {
		unit *= 10
	}
	return integer(float64(int(v/unit+0.5)) * unit)
}

// Least returns the minimum time of a sweep.
func (r *results) Least() time.Duration { return least(sweepTotal) }

// LoopRefusals returns the 429s of the loop for each close.
func (r *results) LoopRefusals() string {
	s := r.sweep(nameLoop)
	return fmt.Sprintf("%.1f", float64(s.Refused)/float64(max(1, s.Closed)))
}

// OverTier divides the time of the sweep with a TierLimiter by the time that the
// tier alone would take.
func (r *results) OverTier() string {
	s := r.sweep(nameTier)
	return fmt.Sprintf("%.1f %%", 100*s.Took.Minutes()*perMinute/float64(max(1, s.Closed)))
}

// Goroutines returns how many there were in real time.
func (r *results) Goroutines() int { return clockGoroutines }

// StartCalls returns the burst of new limiters for the most workspaces.
func (r *results) StartCalls() string {
	return count(workspaces[len(workspaces)-1] * perMinute / 5)
}

// CallMicros returns the processor time that Fleet assumes.
func (r *results) CallMicros() int64 { return callCost.Microseconds() }

// ResponseMillis returns the time until the response that Fleet assumes.
func (r *results) ResponseMillis() int64 { return callResponse.Milliseconds() }

var (
	messages   = []int{1e4, 1e5, 1e6, 1e7}
	workspaces = []int{1, 10, 100, 1000, 10000}
)

// Durations returns the table of the time for a number of direct messages in a
// number of workspaces, at the same time.
func (r *results) Durations(perMinute int) string {
	head := []string{"direct messages"}
	for _, w := range workspaces {
		head = append(head, count(w)+" ws")
	}
	rows := [][]string{head}
	for _, n := range messages {
		row := []string{count(n)}
		for _, w := range workspaces {
			row = append(row, span(time.Duration(n/w)*time.Minute/time.Duration(perMinute), n/w <= perMinute/5))
		}
		rows = append(rows, row)
	}
	return report.Table(rows...)
}

// span formats a duration for people.
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

// Fleet takes the processor time of a call from docs/performance.md, and assumes
// the time until the response.
const (
	callCost     = 52 * time.Microsecond
	callResponse = 200 * time.Millisecond
)

// Fleet returns the table of what workspaces need while all of them close.
func (r *results) Fleet() string {
	rows := [][]string{{"workspaces", "calls/s", "in flight", "of one core", "clients, MiB", "scripts/s, 1 process", "3 processes", "of one Redis", "Redis, MiB"}}
	alone, three := r.PerCall(nameAlone), r.PerCall(nameRedis)
	for _, w := range workspaces {
		calls := float64(w) * perMinute / 60
		rows = append(rows, []string{
			count(w), small(calls), small(calls * callResponse.Seconds()), small(100*calls*callCost.Seconds()) + " %",
			small(float64(w) * r.ClientBytes / (1 << 20)), small(calls * alone), small(calls * three),
			small(100*calls*three*r.ScriptTime.Seconds()) + " %", small(float64(w) * r.KeyClose / (1 << 20)),
		})
	}
	return report.Table(rows...)
}

// Workspaces returns the table of the simulated workspaces.
func (r *results) Workspaces() string {
	rows := [][]string{{"workspaces", "closed", "429s", "retained, each", "all, MiB", "waiting, each", "all, MiB"}}
	for _, s := range r.Simulated {
		all := func(bytes float64) string { return small(bytes * float64(s.Workspaces) / (1 << 20)) }
		rows = append(rows, []string{count(s.Workspaces), count(s.Done), count(s.Refused), integer(s.Retained), all(s.Retained), integer(s.Waiting), all(s.Waiting)})
	}
	return report.Table(rows...)
}

// SimulatedMinutes and FleetWorkers return the sizes of the measurements.
func (r *results) SimulatedMinutes() int { return simulatedMinutes }
func (r *results) FleetWorkers() int     { return fleetWorkers }

// perPost is the limit of chat.postMessage for each workspace, per minute.
const perPost = 300

// Daily returns the table of what a number of messages per day needs.
func (r *results) Daily() string {
	rows := [][]string{{"messages per day", "calls/s", "workspaces", "in flight", "cores", "Redis operations/s", "of one Redis"}}
	for _, n := range []int{1e4, 1e5, 1e6, 1e7, 1e8} {
		calls := float64(n) / (24 * time.Hour).Seconds()
		operations := calls*(r.FleetTask+r.PerCall(nameAlone)) + r.FleetIdle
		rows = append(rows, []string{
			count(n), small(calls), count(max(1, (n+perPost*24*60-1)/(perPost*24*60))), small(calls * callResponse.Seconds()),
			fmt.Sprintf("%.3f", calls*callCost.Seconds()), integer(operations), small(100*operations*r.ScriptTime.Seconds()) + " %",
		})
	}
	return report.Table(rows...)
}

// small formats a number with one decimal.
func small(v float64) string {
	switch {
	case v < 0.05:
		return "< 0.1"
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return integer(v)
}

func (r *results) run(name string) *clockRun {
	for _, t := range r.Clock {
		if t.Name == name {
			return t
		}
	}
	panic("nothing was measured of " + name)
}

func (r *results) sweep(name string) sweepResult {
	for _, s := range r.Swept {
		if s.Name == name {
			return s
		}
	}
	panic("nothing was measured of " + name)
}

// CoreWorkspaces returns how many busy workspaces one core serves.
func (r *results) CoreWorkspaces() string {
	return roughly(time.Minute.Seconds() / (perMinute * callCost.Seconds()))
}
