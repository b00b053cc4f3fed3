package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// The journal is a file of lines, each a JSON object, that is only appended
// to. The first line is the list: what is to be closed, and as whom. Then comes
// one line before each call ("asked") and one after each answer ("answered").
//
// A line goes out in one write and is on the disk (fsync) before the sweep goes
// on, so that neither a kill nor a power failure takes back a line that the
// sweep has acted on. At the pace that Slack allows, that costs nothing.
//
// Each line ends with a checksum of itself and of all lines before it. A last
// line that is not whole, which a crash in the middle of a write leaves, is cut
// off: if it was an "asked", nothing was sent yet; if it was an "answered", the
// id is asked again. Anything else that does not fit is an error.

// entry is one line.
type entry struct {
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
	list
	ID       string `json:"id,omitempty"` // of asked and answered
	Outcome  string `json:"outcome,omitempty"`
	Error    string `json:"error,omitempty"`
	Request  string `json:"request_id,omitempty"` // of the answer, in Slack's logs
	Attempts int    `json:"attempts,omitempty"`
}

const (
	listed   = "list"
	asked    = "asked"
	answered = "answered"
)

// list is what the sweep is about.
type list struct {
	account
	IDs []string `json:"ids,omitempty"`
}

// account is whose direct messages are closed. To go on with another token
// would find none of them.
type account struct {
	Server string `json:"server,omitempty"`
	TeamID string `json:"team_id,omitempty"`
	UserID string `json:"user_id,omitempty"`
}

// journal is an open journal. Its methods but close are for one goroutine at a
// time before begin or goOn, and for any number after it.
type journal struct {
	path string
	lock *flock.Flock
	list *list // nil where there is none yet
	torn bool  // the last line was cut off

	mu      sync.Mutex
	file    *os.File
	err     error  // of the first write that failed: nothing may follow it
	size    int64  // of the lines that are whole
	sum     uint32 // up to there
	asked   map[string]bool
	answers map[string]entry
}

// openJournal locks the journal and reads it. A file that does not exist is a
// journal without a list, and is not made.
func openJournal(path string) (*journal, error) {
	// The system lets go of the lock when the process ends, however it does. The
	// lock has a file of its own, which stays: to remove it is a race.
	lock := flock.New(path + ".lock")
	if free, err := lock.TryLock(); err != nil {
		return nil, fmt.Errorf("the journal cannot be locked: %w", err)
	} else if !free {
		return nil, fmt.Errorf("another sweep is at work on the journal %s", path)
	}
	j := &journal{path: path, lock: lock, asked: make(map[string]bool), answers: make(map[string]entry)}
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.close()
		return nil, fmt.Errorf("the journal cannot be read: %w", err)
	}
	if err := j.read(content); err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

// opening is how every journal begins, so that no other file is overwritten.
const opening = `{"event":"list",`

func (j *journal) read(content []byte) error {
	if begin := content[:min(len(content), len(opening))]; !bytes.HasPrefix([]byte(opening), begin) {
		return fmt.Errorf("%s is no journal of a sweep", j.path)
	}
	number := 0
	for rest := content; len(rest) > 0; {
		number++
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		var e entry
		sum, err := unseal(line, j.sum, &e)
		if !whole || len(after) == 0 && !json.Valid(line) {
			j.torn = true
			return nil
		}
		if err == nil {
			err = j.take(e)
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

// take takes a line into account.
func (j *journal) take(e entry) error {
	switch {
	case (e.Event == listed) != (j.list == nil):
		return errors.New("the list is the first line, and no other")
	case e.Event == listed:
		j.list = &e.list
	case e.Event == asked:
		j.asked[e.ID] = true
	case e.Event == answered:
		j.answers[e.ID] = e
	default:
		return fmt.Errorf("it has the event %q", e.Event)
	}
	return nil
}

// The checksum takes the place of the closing brace.
const sealed = `,"sum":"%08x"}`

var sealLength = len(fmt.Sprintf(sealed, 0))

// seal makes the line that follows those with the checksum before.
func seal(e entry, before uint32) (line []byte, sum uint32) {
	line, err := json.Marshal(e)
	if err != nil {
		panic(err) // an entry has nothing that JSON could not hold
	}
	line = line[:len(line)-1]
	sum = crc32.Update(before, crc32.IEEETable, line)
	return fmt.Appendf(line, sealed+"\n", sum), sum
}

func unseal(line []byte, before uint32, e *entry) (uint32, error) {
	at := max(0, len(line)-sealLength)
	sum := crc32.Update(before, crc32.IEEETable, line[:at])
	if string(line[at:]) != fmt.Sprintf(sealed, sum) {
		return 0, errors.New("its checksum does not fit it and the lines before")
	}
	return sum, json.Unmarshal(line, e)
}

// begin makes the journal of a new sweep.
func (j *journal) begin(l list) error {
	if err := j.goOn(); err != nil {
		return err
	}
	return j.add(entry{Event: listed, list: l})
}

// goOn makes ready to write, after the last line that is whole.
func (j *journal) goOn() error {
	file, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the journal cannot be written: %w", err)
	}
	j.file = file
	if err := file.Truncate(j.size); err != nil {
		return fmt.Errorf("the journal cannot be written: %w", err)
	}
	return nil
}

// add writes a line. When it returns nil the line is on the disk.
func (j *journal) add(e entry) error {
	e.Time = time.Now().UTC().Round(time.Millisecond)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	line, sum := seal(e, j.sum)
	_, err := j.file.WriteAt(line, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		j.err = fmt.Errorf("the journal cannot be written: %w", err)
		return j.err
	}
	j.size += int64(len(line))
	j.sum = sum
	return j.take(e)
}

// left are the ids that have no answer yet.
func (j *journal) left() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.list.IDs), func(id string) bool {
		_, done := j.answers[id]
		return done
	})
}

// wasAsked tells of an id that was asked and has no answer yet.
func (j *journal) wasAsked(id string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.asked[id]
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
	}
	_ = j.lock.Close()
}
