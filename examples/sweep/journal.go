package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/chatdm/chatdm/examples/internal/lock"
)

// The journal is an append-only file of lines, each a JSON object:
//
//   - "list", the first line, holds the IDs to close and the account that closes
//     them.
//   - "start" precedes each call.
//   - "result" follows each call that got an outcome.
//
// The sweep writes each line in one write and syncs it to the disk before it
// continues, so neither a kill nor a power failure loses a line that the sweep has
// acted on. At Slack's rate limit, the time for that does not matter.
//
// Each line ends with a checksum of itself and all lines before it. A crash
// during a write leaves an incomplete last line, which is dropped. If it was a
// "start", nothing was sent yet; if it was a "result", -resume makes the call
// again. Anything else that does not match its checksum is an error.

// entry is one line of the journal.
type entry struct {
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
	list
	ID       string `json:"id,omitempty"` // of "start" and "result"
	Outcome  string `json:"outcome,omitempty"`
	Error    string `json:"error,omitempty"`
	Request  string `json:"request_id,omitempty"` // identifies the request in Slack's logs
	Attempts int    `json:"attempts,omitempty"`
}

// The events.
const (
	eventList   = "list"
	eventStart  = "start"
	eventResult = "result"
)

// list holds the IDs that a sweep closes, and the account that closes them.
type list struct {
	account
	IDs []string `json:"ids,omitempty"`
}

// account is the user whose direct messages are closed. The token of another
// user would find none of them.
type account struct {
	Server string `json:"server,omitempty"`
	TeamID string `json:"team_id,omitempty"`
	UserID string `json:"user_id,omitempty"`
}

// journal is an open, locked journal. Until begin or resume returns, only one
// goroutine may use it; then all methods but close are safe for concurrent use.
type journal struct {
	path    string
	file    *os.File // nil if the file does not exist
	list    *list    // nil if the journal is empty
	dropped bool     // the last line was incomplete

	mu      sync.Mutex
	err     error  // of the first write that failed; nothing is written after it
	size    int64  // of the complete lines
	sum     uint32 // checksum of the complete lines
	started map[string]bool
	results map[string]entry
}

// openJournal opens, locks, and reads a journal. If the file does not exist,
// openJournal creates it or, without create, returns an empty journal that
// cannot be written.
func openJournal(path string, create bool) (*journal, error) {
	j := &journal{path: path, started: make(map[string]bool), results: make(map[string]entry)}
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	file, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) && !create {
		return j, nil
	} else if err != nil {
		return nil, fmt.Errorf("cannot open the journal: %w", err)
	}
	j.file = file
	if err := j.load(); err != nil {
		file.Close()
		return nil, err
	}
	return j, nil
}

// load locks the file and reads it. The lock is on the file itself, not on its
// path, because several paths can lead to one file. The system releases the lock
// when the process ends, however it ends.
func (j *journal) load() error {
	free, err := lock.Try(j.file)
	if err != nil {
		return fmt.Errorf("cannot lock the journal %s: %w", j.path, err)
	}
	if !free {
		return fmt.Errorf("another sweep is using the journal %s", j.path)
	}
	content, err := io.ReadAll(j.file)
	if err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	return j.parse(content)
}

// opening starts every journal. A file that starts otherwise is not overwritten.
const opening = `{"event":"list",`

func (j *journal) parse(content []byte) error {
	if start := content[:min(len(content), len(opening))]; !bytes.HasPrefix([]byte(opening), start) {
		return fmt.Errorf("%s is not a journal of sweep", j.path)
	}
	number := 0
	for rest := content; len(rest) > 0; {
		number++
		line, after, complete := bytes.Cut(rest, []byte("\n"))
		var e entry
		sum, err := decodeLine(line, j.sum, &e)
		if !complete || len(after) == 0 && !json.Valid(line) {
			j.dropped = true
			return nil
		}
		if err == nil {
			err = j.apply(e)
		}
		if err != nil {
			return fmt.Errorf("the journal %s is damaged: line %d: %w", j.path, number, err)
		}
		j.sum = sum
		j.size += int64(len(line)) + 1
		rest = after
	}
	return nil
}

// apply updates the state of the journal with a line.
func (j *journal) apply(e entry) error {
	switch {
	case (e.Event == eventList) != (j.list == nil):
		return errors.New("the list must be the first line and occur once")
	case e.Event == eventList:
		j.list = &e.list
	case e.Event == eventStart:
		j.started[e.ID] = true
	case e.Event == eventResult:
		j.results[e.ID] = e
	default:
		return fmt.Errorf("unknown event %q", e.Event)
	}
	return nil
}

// checksum replaces the closing brace of a line.
const checksum = `,"sum":"%08x"}`

var checksumLen = len(fmt.Sprintf(checksum, 0))

// encodeLine returns the line for e and the checksum of the journal up to it.
// The argument previous is the checksum of the lines before it.
func encodeLine(e entry, previous uint32) (line []byte, sum uint32) {
	line, err := json.Marshal(e)
	if err != nil {
		panic(err) // an entry holds nothing that JSON cannot represent
	}
	line = line[:len(line)-1]
	sum = crc32.Update(previous, crc32.IEEETable, line)
	return fmt.Appendf(line, checksum+"\n", sum), sum
}

// decodeLine is the inverse of encodeLine.
func decodeLine(line []byte, previous uint32, e *entry) (sum uint32, err error) {
	end := max(0, len(line)-checksumLen)
	sum = crc32.Update(previous, crc32.IEEETable, line[:end])
	if string(line[end:]) != fmt.Sprintf(checksum, sum) {
		return 0, errors.New("the checksum does not match this line and the lines before it")
	}
	return sum, json.Unmarshal(line, e)
}

// begin writes the list of a new sweep.
func (j *journal) begin(l list) error {
	if err := j.resume(); err != nil {
		return err
	}
	return j.add(entry{Event: eventList, list: l})
}

// resume removes an incomplete last line, so that add can write after it.
func (j *journal) resume() error {
	if err := j.file.Truncate(j.size); err != nil {
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	return nil
}

// add appends a line. The line is on the disk when add returns nil.
func (j *journal) add(e entry) error {
	e.Time = time.Now().UTC().Round(time.Millisecond)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	line, sum := encodeLine(e, j.sum)
	_, err := j.file.WriteAt(line, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		j.err = fmt.Errorf("cannot write the journal: %w", err)
		return j.err
	}
	j.size += int64(len(line))
	j.sum = sum
	return j.apply(e)
}

// pending returns the IDs without a result.
func (j *journal) pending() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.list.IDs), func(id string) bool {
		_, done := j.results[id]
		return done
	})
}

// done returns the number of IDs with a result.
func (j *journal) done() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.results)
}

// wasStarted reports whether a call for the ID was started before, in this run
// or an earlier one.
func (j *journal) wasStarted(id string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.started[id]
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
	}
}

// checkJournal returns an error if this run cannot use the journal.
func (p *program) checkJournal(j *journal, given []string) error {
	sameIDs := func(a, b []string) bool {
		return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
	}
	switch {
	case j.list == nil && given == nil && !p.list:
		return fmt.Errorf("the journal %s is missing or empty: begin with -ids or -list", p.journal)
	case j.list != nil && !p.resume && len(j.pending()) == 0:
		return fmt.Errorf("the sweep of the journal %s is complete: remove the journal, or use another", p.journal)
	case j.list != nil && !p.resume:
		return fmt.Errorf("the sweep of the journal %s is not complete: use -resume, or another journal", p.journal)
	case j.list != nil && given != nil && !sameIDs(given, j.list.IDs):
		return fmt.Errorf("the journal %s has a different list of IDs: omit -ids, or use another journal", p.journal)
	}
	return nil
}
