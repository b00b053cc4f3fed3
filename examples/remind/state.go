package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/chatdm/chatdm/examples/internal/lock"
)

// state is a file that says when the first run with each name began. Only one process at a
// time can open it.
type state struct {
	file *os.File
	runs map[string]time.Time
}

// entry is a line of the file.
type entry struct {
	Run   string    `json:"run"`
	Began time.Time `json:"began"`
}

func openState(path string) (*state, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("-state: %w", err)
	}
	s := &state{file: file, runs: make(map[string]time.Time)}
	if err := s.load(); err != nil {
		file.Close()
		return nil, fmt.Errorf("-state: %s: %w", path, err)
	}
	return s, nil
}

// load locks and reads the file.
func (s *state) load() error {
	free, err := lock.Try(s.file)
	if err != nil {
		return err
	}
	if !free {
		return errors.New("another process is using it; wait until that process ends")
	}
	lines := json.NewDecoder(s.file)
	for {
		end := lines.InputOffset()
		var e entry
		switch err := lines.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			// The process ended while it wrote the line, so it posted nothing.
			return s.file.Truncate(end)
		case err != nil || e.Run == "" || e.Began.IsZero():
			return errors.New("not a state file of remind")
		}
		s.runs[e.Run] = e.Began
	}
}

// begin records the first run with a name. The record is on the disk when begin returns.
func (s *state) begin(run string, at time.Time) error {
	line, err := json.Marshal(entry{run, at.UTC()})
	if err != nil {
		return err
	}
	if _, err := s.file.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if _, err := s.file.Write(append(line, '\n')); err != nil {
		return err
	}
	return s.file.Sync()
}

func (s *state) close() { s.file.Close() }
