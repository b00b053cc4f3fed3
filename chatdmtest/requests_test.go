package chatdmtest_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/chatdm/chatdm/chatdmtest"
)

// serveRequests passes n requests to a fake server. Their queries are "0", "1", and so on.
func serveRequests(server http.Handler, n int, body string) {
	for i := range n {
		r := httptest.NewRequest("POST", "/api/api.test?"+strconv.Itoa(i), strings.NewReader(body))
		server.ServeHTTP(httptest.NewRecorder(), r)
	}
}

func TestKeepRequests(t *testing.T) {
	tests := []struct {
		name       string
		opts       []chatdmtest.Option
		sent, want int
	}{
		{"default, at the limit", nil, 10_000, 10_000},
		{"default, over the limit", nil, 10_002, 10_000},
		{"none sent", []chatdmtest.Option{chatdmtest.KeepRequests(3)}, 0, 0},
		{"under the limit", []chatdmtest.Option{chatdmtest.KeepRequests(3)}, 2, 2},
		{"over the limit", []chatdmtest.Option{chatdmtest.KeepRequests(3)}, 4, 3},
		{"overwritten twice", []chatdmtest.Option{chatdmtest.KeepRequests(3)}, 8, 3},
		{"only the last", []chatdmtest.Option{chatdmtest.KeepRequests(1)}, 5, 1},
		{"none kept", []chatdmtest.Option{chatdmtest.KeepRequests(0)}, 5, 0},
		{"all kept", []chatdmtest.Option{chatdmtest.KeepRequests(-1)}, 10_002, 10_002},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSlack(t, tt.opts...)
			serveRequests(s, tt.sent, "")
			got := s.Requests()
			if len(got) != tt.want || s.RequestCount() != tt.sent {
				t.Fatalf("got %d requests, count %d, want %d, count %d", len(got), s.RequestCount(), tt.want, tt.sent)
			}
			for i, r := range got {
				if want := strconv.Itoa(tt.sent - tt.want + i); r.RawQuery != want {
					t.Fatalf("got request %s at index %d, want %s", r.RawQuery, i, want)
				}
			}

			s.ResetRequests()
			if n, count := len(s.Requests()), s.RequestCount(); n != 0 || count != 0 {
				t.Errorf("after ResetRequests: got %d requests, count %d, want 0, count 0", n, count)
			}
			serveRequests(s, 1, "")
			if count := s.RequestCount(); count != 1 {
				t.Errorf("after ResetRequests and a request: got count %d, want 1", count)
			}
		})
	}
}

// The server frees the requests that it no longer keeps.
func TestKeepRequestsMemory(t *testing.T) {
	s := newSlack(t, chatdmtest.KeepRequests(10))
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	const size = 64 << 10
	body := strings.Repeat("x", size)
	serveRequests(s, 10, body)
	before := heap()
	serveRequests(s, 500, body)
	if after := heap(); after > before+100*size {
		t.Errorf("got %d bytes more on the heap after 500 requests, want at most %d", after-before, 100*size)
	}
}
