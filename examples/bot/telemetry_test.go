package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/chatdm/chatdm/chatdmtest"
)

// TestCollector checks what the bot sends to a collector. Its protocol has no text, but the
// texts in it are readable.
func TestCollector(t *testing.T) {
	var mu sync.Mutex
	received := make(map[string]string)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		received[r.URL.Path] += string(body)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")

	b := newBench(t, settings{otlp: true})
	b.slack.Fail("conversations.open", 1, chatdmtest.Fault{Status: 503})
	b.expect("response", b.typed("C0GENERAL", "<@U0ALICE01> Lunch?"), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
	b.stop()
	<-b.ended

	for path, wants := range map[string][]string{
		"/v1/metrics": {"dmbot", "deployment.environment.name", "chatdm.call.duration", "http.client.request.duration", "conversations.open", "backoff"},
		"/v1/traces":  {"dmbot", "deployment.environment.name", "command", "conversations.open", "POST /api/chat.postMessage"},
	} {
		for _, want := range wants {
			if !strings.Contains(received[path], want) {
				t.Errorf("%s: got no %q", path, want)
			}
		}
		for _, private := range append(b.private, chatdmtest.Alice, chatdmtest.Bob, "D000000001", "C0GENERAL") {
			if strings.Contains(received[path], private) {
				t.Errorf("%s: got %q", path, private)
			}
		}
	}
}

// TestNoCollector checks that a bot works and stops if the collector fails.
func TestNoCollector(t *testing.T) {
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusBadRequest)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	b := newBench(t, settings{otlp: true})
	b.expect("response", b.typed("C0GENERAL", "<@U0ALICE01>"), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
	b.stop()
	if <-b.ended; !strings.Contains(b.log.String(), `"msg":"telemetry"`) {
		t.Errorf("the log lacks the failure of the collector:\n%s", b.log)
	}
}
