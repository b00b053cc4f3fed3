package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

const (
	maxStreams     = 20                     // open streams of events
	updateInterval = 100 * time.Millisecond // minimum time between two events
	heartbeat      = 15 * time.Second       // detects clients that have disconnected
)

// events streams updates of the view as server-sent events. The first event has all
// items, so a client that reconnects misses nothing. There is no queue: each event is
// the difference between the view that the client has and the current one. A client
// that does not read an event in time is disconnected.
func (c *control) events(w http.ResponseWriter, r *http.Request) {
	if !c.openStream() {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "got "+strconv.Itoa(maxStreams)+" open streams of events, want fewer: close a page", http.StatusServiceUnavailable)
		return
	}
	defer c.closeStream()
	w.Header().Set("Content-Type", "text/event-stream")
	controller := http.NewResponseController(w)
	send := func(text []byte) bool {
		_ = controller.SetWriteDeadline(time.Now().Add(c.streamTimeout)) // a test's recorder has none
		_, err := w.Write(text)
		return err == nil && controller.Flush() == nil
	}
	if !send([]byte("retry: 1000\n\n")) {
		return
	}
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	var sent *view
	for {
		start := time.Now()
		current := c.currentView()
		cost := time.Since(start)
		if u := current.since(sent); !u.isEmpty() && !send(encodeEvent(u)) {
			return
		}
		sent = current
		// The more a view costs, the less often it is built.
		select {
		case <-time.After(max(updateInterval, 5*cost)):
		case <-r.Context().Done():
			return
		}
	wait:
		for {
			select {
			case <-current.changed[0]:
				break wait
			case <-current.changed[1]:
				break wait
			case <-current.changed[2]:
				break wait
			case <-ticker.C:
				if !send([]byte(": still here\n\n")) {
					return
				}
			case <-r.Context().Done():
				return
			}
		}
	}
}

func encodeEvent(u update) []byte {
	var b bytes.Buffer
	b.WriteString("event: update\ndata: ")
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(u) // cannot fail: the items are JSON
	b.WriteString("\n")   // the data ends with one line break
	return b.Bytes()
}

func (c *control) openStream() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams == maxStreams {
		return false
	}
	c.streams++
	return true
}

func (c *control) closeStream() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams--
}
