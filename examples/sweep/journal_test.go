package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// writeJournal returns a journal with three IDs, one of which is pending.
func writeJournal(t *testing.T, b *bench) string {
	t.Helper()
	b.open(t, 3)
	b.slack.Fail("conversations.close", 2, chatdmtest.Fault{})
	b.slack.Fail("conversations.close", 1, chatdmtest.Fault{Code: "missing_scope"})
	b.must(t, 3, "2  closed", "-ids", "@ids", "-concurrency", "1")
	content := read(t, b.path("journal"))
	if n := strings.Count(content, "\n"); n != 6 {
		t.Fatalf("got %d lines, want 6:\n%s", n, content)
	}
	return content
}

// TestTruncated cuts the journal off after each of its bytes. Its complete lines
// count, and lines written after them are kept.
func TestTruncated(t *testing.T) {
	b := newBench(t)
	content := writeJournal(t, b)
	for n := range len(content) + 1 {
		write(t, b.path("journal"), content[:n])
		j, err := openJournal(b.path("journal"), true)
		if err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		complete := strings.LastIndex(content[:n], "\n") + 1
		if j.dropped != (complete < n) || j.size != int64(complete) || (j.list != nil) != (complete > 0) {
			t.Fatalf("after %d bytes: dropped %t, size %d", n, j.dropped, j.size)
		}
		if j.list == nil {
			err = j.begin(list{account{"s", "t", "u"}, []string{"D1"}})
		} else {
			err = j.resume()
		}
		if err == nil {
			err = j.add(entry{Event: eventStart, ID: "D1"})
		}
		if err != nil {
			t.Fatal(err)
		}
		j.close()
		again, err := openJournal(b.path("journal"), true)
		if err != nil || again.dropped || !again.started["D1"] || len(again.results) != len(j.results) {
			t.Fatalf("after %d bytes, resumed: %v", n, err)
		}
		again.close()
	}

	// After a power failure, blocks that never reached the disk are zeros.
	write(t, b.path("journal"), content+"\x00\x00\x00\n")
	b.must(t, 0, "dropped the last line of the journal", "-resume")
}

// TestDamaged changes one byte of each line, or removes or adds a line. The error
// names the line, and the file is not changed.
func TestDamaged(t *testing.T) {
	b := newBench(t)
	content := writeJournal(t, b)
	lines := strings.SplitAfter(content, "\n")
	lines = lines[:len(lines)-1]
	damaged := func(number int, content string) {
		t.Helper()
		write(t, b.path("journal"), content)
		b.must(t, 1, fmt.Sprintf("line %d: ", number), "-resume")
		if read(t, b.path("journal")) != content {
			t.Error("the damaged journal was changed")
		}
	}
	at := 0
	for i, line := range lines[:len(lines)-1] {
		for _, within := range []int{len(line) / 2, len(line) - 5} {
			bytes := []byte(content)
			bytes[at+within] ^= 1
			damaged(i+1, string(bytes))
		}
		at += len(line)
		if i > 0 {
			damaged(i+1, strings.Join(lines[:i], "")+strings.Join(lines[i+1:], ""))
			damaged(i+1, strings.Join(lines[:i], "")+"\n"+strings.Join(lines[i:], ""))
		}
	}

	// Lines that this version never writes.
	var sum uint32
	j := &journal{started: make(map[string]bool), results: make(map[string]entry)}
	if err := j.parse([]byte(content)); err != nil {
		t.Fatal(err)
	}
	sum = j.sum
	for _, event := range []string{"renamed", eventList} {
		line, _ := encodeLine(entry{Event: event}, sum)
		damaged(len(lines)+1, content+string(line))
	}
	write(t, b.path("journal"), strings.Join(lines[1:], ""))
	b.must(t, 1, "is not a journal", "-resume")
}

func TestProgressText(t *testing.T) {
	start := time.Now()
	for _, tt := range []struct {
		perMinute int
		after     time.Duration
		done      int
		paused    time.Duration
		want      string
	}{
		{20, 0, 5, 0, "5 of 45, 2m0s left"},
		{20, 2 * time.Second, 9, 0, "9 of 45, 120/min, 1m48s left"},
		{20, 2 * time.Second, 9, 30500 * time.Millisecond, "9 of 45, 120/min, paused 31s, 2m19s left"},
		{20, 30 * time.Second, 10, 0, "10 of 45, 10/min, 3m30s left"},
		{20, 30 * time.Second, 5, time.Minute, "5 of 45, 0/min, paused 1m0s, 3m0s left"},
		{20, 40 * time.Second, 45, 0, "45 of 45, 60/min"},
		{0, 0, 5, 0, "5 of 45"},
		{0, 6 * time.Second, 15, 0, "15 of 45, 100/min, 18s left"},
	} {
		p := &progress{ctx: t.Context(), out: io.Discard, total: 45, samples: []sample{{start, 5}, {start.Add(tt.after), tt.done}}}
		p.sweep = &sweep{pace: newPacer(tt.perMinute)}
		if got := p.text(tt.paused); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	sum := &summary{Total: 30, Pending: 2, Outcomes: map[string]int{closed: 3, "not_found": 25}}
	for range 25 {
		sum.Failures = append(sum.Failures, failure{"D1", "not_found", "channel_not_found"})
	}
	var out bytes.Buffer
	sum.table(&out)
	if got := out.String(); !strings.Contains(got, "… and 5 more; -json lists them all\n\n 3  closed\n25  not found\n 2  pending\n30  in total\n") {
		t.Error(got)
	}
}
