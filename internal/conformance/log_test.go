package conformance_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

// TestLogLines: the client logs one line per call and one per retry.
func TestLogLines(t *testing.T) {
	eachMethod(t, func(t *testing.T, m method) {
		if !m.idempotent {
			return
		}
		var log strings.Builder
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
				dropped := []string{slog.TimeKey, "duration", "wait"}
				if len(groups) > 0 { // the line itself has them
					dropped = []string{"service", "method", "attempts"}
				}
				if slices.Contains(dropped, a.Key) {
					return slog.Attr{}
				}
				return a
			},
		}))
		call := m.on(t, wiretest.NewScript(
			wiretest.Respond(503, ""),
			fail(io.ErrUnexpectedEOF),
			wiretest.Respond(200, m.success, "X-Slack-Req-Id", "req-1", "X-Request-Id", "req-1"),
			wiretest.Respond(200, m.success),
			wiretest.Respond(400, `{"ok":false,"error":"brand-new","errorType":"brand-new"}`),
		), chatdm.WithLogger(logger))
		_, _ = call(t.Context())
		_, _ = call(t.Context())
		_, err := call(t.Context())
		message := ""
		if e := wiretest.WantError(t, err); e.Message != "" {
			message = " error.message=" + e.Message
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = call(ended)
		of := fmt.Sprintf("service=%s method=%s", m.service, m.api)
		want := `level=INFO msg="chatdm: retrying" ` + of + ` attempt=1 error.kind=unavailable error.status=503
level=INFO msg="chatdm: retrying" ` + of + ` attempt=2 error.kind=unavailable error.cause="no complete response: unexpected EOF; earlier attempt: unavailable (status 503)"
level=DEBUG msg="chatdm: call succeeded" ` + of + ` attempts=3 status=200 request_id=req-1
level=DEBUG msg="chatdm: call succeeded" ` + of + ` attempts=1 status=200
level=WARN msg="chatdm: call failed" ` + of + ` attempts=1 error.kind=unknown error.code=brand-new` + message + ` error.status=400
level=WARN msg="chatdm: call failed" ` + of + ` attempts=0 error.kind=canceled error.cause="context canceled"
`
		if log.String() != want {
			t.Errorf("got\n%swant\n%s", log.String(), want)
		}
	})
}
