package chatdmotel_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	metricapi "go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmotel"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/rocketchat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// telemetry collects spans and metrics in memory.
type telemetry struct {
	spans    *tracetest.SpanRecorder
	tracers  *trace.TracerProvider
	reader   *metric.ManualReader
	meters   *metric.MeterProvider
	observer *chatdmotel.Observer
}

func newTelemetry() *telemetry {
	t := &telemetry{spans: tracetest.NewSpanRecorder(), reader: metric.NewManualReader()}
	t.tracers = trace.NewTracerProvider(trace.WithSpanProcessor(t.spans))
	t.meters = metric.NewMeterProvider(metric.WithReader(t.reader))
	t.observer = chatdmotel.NewObserver(nil, chatdmotel.WithTracerProvider(t.tracers), chatdmotel.WithMeterProvider(t.meters))
	return t
}

func attributes(attrs []attribute.KeyValue) string {
	var texts []string
	for _, a := range attrs {
		texts = append(texts, string(a.Key)+"="+a.Value.String())
	}
	slices.Sort(texts)
	return strings.Join(texts, " ")
}

// trace returns the ended spans as a tree, one line per span or event.
func (t *telemetry) trace() string {
	var b strings.Builder
	ended := t.spans.Ended()
	var write func(parent oteltrace.SpanID, indent string)
	write = func(parent oteltrace.SpanID, indent string) {
		for _, span := range t.spans.Started() {
			if span.Parent().SpanID() != parent {
				continue
			}
			if !slices.ContainsFunc(ended, func(s trace.ReadOnlySpan) bool {
				return s.SpanContext().SpanID() == span.SpanContext().SpanID()
			}) {
				fmt.Fprintf(&b, "%snot ended: ", indent)
			}
			fmt.Fprintf(&b, "%s%s, %s, %v", indent, span.Name(), span.SpanKind(), span.EndTime().Sub(span.StartTime()))
			if status := span.Status(); status.Code != codes.Unset {
				fmt.Fprintf(&b, ", %s %q", status.Code, status.Description)
			}
			fmt.Fprintf(&b, "\n%s  %s\n", indent, attributes(span.Attributes()))
			for _, event := range span.Events() {
				fmt.Fprintf(&b, "%s  after %v: %s %s\n", indent, event.Time.Sub(span.StartTime()), event.Name, attributes(event.Attributes))
			}
			write(span.SpanContext().SpanID(), indent+"    ")
		}
	}
	write(oteltrace.SpanID{}, "")
	return b.String()
}

// metrics returns all metrics in sorted order, one line per data point.
func (t *telemetry) metrics(tb testing.TB) string {
	tb.Helper()
	var all metricdata.ResourceMetrics
	if err := t.reader.Collect(context.Background(), &all); err != nil {
		tb.Fatal(err)
	}
	var lines []string
	add := func(name string, attrs attribute.Set, format string, args ...any) {
		lines = append(lines, name+" "+fmt.Sprintf(format, args...)+"\n  "+attributes(attrs.ToSlice())+"\n")
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, "%d in %v%s", p.Count, p.Sum, m.Unit)
				}
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, "%d with %v %s", p.Count, p.Sum, m.Unit)
				}
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, "%d %s", p.Value, m.Unit)
				}
			default:
				tb.Errorf("%s: got %T", m.Name, data)
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

var update = flag.Bool("update", false, "write the files in testdata")

// expect compares the spans and metrics with the file of the test in testdata.
func (t *telemetry) expect(tb testing.TB) {
	tb.Helper()
	got, name := t.trace()+"\n"+t.metrics(tb), filepath.Join("testdata", tb.Name()+".txt")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		tb.Errorf("spans and metrics (-want +got):\n%s", diff)
	}
}

const slackURL = "http://127.0.0.1:8080/api" // in memory, so no port is used

// onSlack runs f in a bubble with a fake Slack.
func onSlack(t *testing.T, f func(t *testing.T, s *chatdmtest.Slack, tel *telemetry, client func(...chatdm.Option) *chatdm.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, tel := chatdmtest.NewSlack(chatdmtest.InMemory()), newTelemetry()
		defer s.Close()
		hc := s.Client()
		defer hc.CloseIdleConnections()
		f(t, s, tel, func(opts ...chatdm.Option) *chatdm.Client {
			t.Helper()
			client, err := chatdm.NewClient(chatdmtest.BotToken, append([]chatdm.Option{
				chatdm.WithBaseURL(slackURL), chatdm.WithHTTPClient(hc), chatdm.WithObserver(tel.observer),
			}, opts...)...)
			if err != nil {
				t.Fatal(err)
			}
			return client
		})
	})
}

func retryAfter(status int, seconds string) chatdmtest.Fault {
	return chatdmtest.Fault{Status: status, Header: http.Header{"Retry-After": {seconds}}}
}

var alice = chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}}

func TestSuccess(t *testing.T) {
	onSlack(t, func(t *testing.T, _ *chatdmtest.Slack, tel *telemetry, client func(...chatdm.Option) *chatdm.Client) {
		ctx, span := tel.tracers.Tracer("test").Start(t.Context(), "parent")
		if _, err := client().Conversations.Open(ctx, alice); err != nil {
			t.Fatal(err)
		}
		span.End()
		tel.expect(t)
	})
}

func TestRetry(t *testing.T) {
	onSlack(t, func(t *testing.T, s *chatdmtest.Slack, tel *telemetry, client func(...chatdm.Option) *chatdm.Client) {
		s.Fail("conversations.open", 1, retryAfter(503, "2"))
		s.Fail("conversations.open", 1, retryAfter(429, "30"))
		if _, err := client().Conversations.Open(t.Context(), alice); err != nil {
			t.Fatal(err)
		}
		tel.expect(t)
	})
}

// slowLimiter delays every call by three seconds.
type slowLimiter struct{}

func (slowLimiter) Wait(ctx context.Context, _ string) error {
	time.Sleep(3 * time.Second)
	return ctx.Err()
}

func (slowLimiter) Limited(context.Context, string, time.Duration) {}

// refresher is a chatdm.TokenRefresher. Its first token is wrong.
type refresher struct{}

func (refresher) Token(context.Context) (string, error) { return "xoxb-wrong", nil }

func (refresher) Refresh(context.Context, string) (string, error) {
	time.Sleep(2 * time.Second)
	return chatdmtest.BotToken, nil
}

func TestLimiterAndRefresh(t *testing.T) {
	onSlack(t, func(t *testing.T, s *chatdmtest.Slack, tel *telemetry, _ func(...chatdm.Option) *chatdm.Client) {
		s.AddToken(chatdmtest.Token{Value: "xoxb-wrong", User: chatdmtest.BotUser, State: chatdmtest.Expired})
		hc := s.Client()
		defer hc.CloseIdleConnections()
		client, err := chatdm.NewClient("", chatdm.WithBaseURL(slackURL), chatdm.WithHTTPClient(hc), chatdm.WithObserver(tel.observer),
			chatdm.WithTokenSource(refresher{}), chatdm.WithLimiter(slowLimiter{}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Conversations.Open(t.Context(), alice); err != nil {
			t.Fatal(err)
		}
		tel.expect(t)
	})
}

func TestLostMessage(t *testing.T) {
	onSlack(t, func(t *testing.T, s *chatdmtest.Slack, tel *telemetry, client func(...chatdm.Option) *chatdm.Client) {
		dm, err := client(chatdm.WithObserver(nil)).Conversations.Open(t.Context(), alice)
		if err != nil {
			t.Fatal(err)
		}
		params := chatdm.ChatPostMessageParams{Channel: dm.Channel.ID, Text: "hi"}
		s.Fail("chat.postMessage", 2, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
		if _, err := client().Chat.PostMessage(t.Context(), params); !errors.Is(err, chatdm.ErrEffectUnknown) {
			t.Fatal(err)
		}
		params.Key = "hello"
		if _, err := client().Chat.PostMessage(t.Context(), params); err != nil {
			t.Fatal(err)
		}
		tel.expect(t)
	})
}

func TestFailures(t *testing.T) {
	onSlack(t, func(t *testing.T, s *chatdmtest.Slack, tel *telemetry, client func(...chatdm.Option) *chatdm.Client) {
		c := client(chatdm.WithTimeout(0))
		s.Fail("conversations.open", 1, chatdmtest.Fault{Code: "user_disabled"})
		s.Fail("conversations.open", 1, chatdmtest.Fault{Code: "brand_new_U0ALICE01"})
		s.Fail("conversations.open", 1, chatdmtest.Fault{Stall: chatdmtest.BeforeHeader})
		for range 2 {
			if _, err := c.Conversations.Open(t.Context(), alice); err == nil {
				t.Error("got nil, want an error")
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.Conversations.Open(ctx, alice); !errors.Is(err, chatdm.KindCanceled) {
			t.Error(err)
		}
		if _, err := c.Conversations.Open(ctx, alice); !errors.Is(err, chatdm.KindCanceled) { // no attempt
			t.Error(err)
		}
		tel.expect(t)
	})
}

func TestRocketChat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, tel := chatdmtest.NewRocketChat(chatdmtest.InMemory()), newTelemetry()
		defer s.Close()
		hc := s.Client()
		defer hc.CloseIdleConnections()
		creds := rocketchat.Credentials{UserID: chatdmtest.RocketChatMemberID, AuthToken: chatdmtest.RocketChatMemberToken}
		client, err := rocketchat.NewClient("http://127.0.0.1:3000", creds, chatdm.WithHTTPClient(hc), chatdm.WithObserver(tel.observer))
		if err != nil {
			t.Fatal(err)
		}
		s.Fail("im.create", 1, chatdmtest.Fault{Status: 400, Body: `{"success":false,"errorType":"error-secret"}`})
		if _, err := client.IM.Create(t.Context(), rocketchat.IMCreateParams{Usernames: []string{"alice"}}); err == nil {
			t.Error("got nil, want an error")
		}
		_, err = client.Call(t.Context(), "GET", "rooms.media/GENERAL", map[string]any{"query": "S3CRET"}, nil)
		if err == nil {
			t.Error("got nil, want an error")
		}
		tel.expect(t)
	})
}

// TestNoLeak searches all spans and metrics for what a call and a server contain.
func TestNoLeak(t *testing.T) {
	onSlack(t, func(t *testing.T, s *chatdmtest.Slack, tel *telemetry, client func(...chatdm.Option) *chatdm.Client) {
		c := client(chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 2}))
		use := func() {
			dm, err := c.Conversations.Open(t.Context(), alice)
			if err == nil {
				_, _ = c.Chat.PostMessage(t.Context(), chatdm.ChatPostMessageParams{Channel: dm.Channel.ID, Text: "S3CRET text", Key: "S3CRET-key"})
				for range c.Conversations.History(t.Context(), chatdm.ConversationsHistoryParams{Channel: dm.Channel.ID}) {
					break
				}
				_, _ = c.Conversations.Close(t.Context(), dm.Channel.ID)
			}
			_, _ = c.Users.LookupByEmail(t.Context(), "S3CRET@example.org")
			_, _ = c.Users.Info(t.Context(), chatdmtest.Bob)
		}
		use()
		header := http.Header{"X-Slack-Req-Id": {"S3CRET-request"}, "Location": {"https://S3CRET.example/x"}}
		for _, fault := range []chatdmtest.Fault{
			{Code: "S3CRET_code", Header: header},
			{Status: 500, Body: "S3CRET body", Header: header},
			{Status: 302, Header: header},
			{Body: `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["S3CRET message"]}}`},
			{Body: "<html>S3CRET", Header: header},
			{Cut: chatdmtest.InBody, Apply: true},
			retryAfter(429, "1"),
		} {
			for _, method := range []string{"conversations.open", "chat.postMessage", "conversations.history", "conversations.close", "users.lookupByEmail", "users.info"} {
				s.Fail(method, 2, fault)
				use()
				s.ClearFaults()
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("S3CRET cause"))
		_, _ = c.Conversations.Open(ctx, alice)

		all := tel.trace() + tel.metrics(t) + fmt.Sprintf("%+v", tracetest.SpanStubsFromReadOnlySpans(tel.spans.Ended()))
		if n := len(tel.spans.Ended()); n < 400 || n != len(tel.spans.Started()) {
			t.Errorf("got %d ended and %d started spans, want the same and at least 400", n, len(tel.spans.Started()))
		}
		for _, private := range []string{chatdmtest.BotToken, chatdmtest.Alice, chatdmtest.Bob, "D000000001", "S3CRET", "example.org", "html"} {
			if i := strings.Index(all, private); i >= 0 {
				t.Errorf("got %q in …%s…", private, all[max(0, i-100):min(len(all), i+100)])
			}
		}
	})
}

// TestBounded: neither codes, kinds, methods, nor paths add values without bound.
func TestBounded(t *testing.T) {
	tel := newTelemetry()
	for i := range 600 {
		info := chatdm.CallInfo{Service: "slack", Method: fmt.Sprintf("made.up%d", i)}
		ctx := tel.observer.CallStart(t.Context(), info)
		attempt := chatdm.AttemptInfo{CallInfo: info, Attempt: 1, HTTPMethod: "POST", URL: "https://slack.com/api/" + info.Method}
		inner := tel.observer.AttemptStart(ctx, attempt)
		code, kind := chatdm.Code(info.Method), chatdm.Kind(info.Method)
		tel.observer.AttemptEnd(inner, attempt, chatdm.AttemptEnd{StatusCode: 200, Code: code, Kind: kind})
		wait := chatdm.WaitInfo{CallInfo: info, Reason: chatdm.WaitLimiter}
		tel.observer.WaitEnd(tel.observer.WaitStart(ctx, wait), wait, chatdm.WaitEnd{})
		tel.observer.CallEnd(ctx, info, chatdm.CallEnd{Attempts: 1, Err: &chatdm.Error{Code: code, Kind: kind}})
	}
	all := tel.trace()
	if n := strings.Count(all, "_OTHER, internal"); n != 100 {
		t.Errorf("got %d spans named _OTHER, want 100", n)
	}
	if strings.Contains(all, "made.up500") || !strings.Contains(all, "url.full=https://slack.com/api/_OTHER") {
		t.Error("got the name of method 500, or no URL with _OTHER")
	}
	for _, name := range []string{"chatdm.call.duration", "chatdm.call.attempts", "chatdm.wait.duration", "chatdm.calls.active", "http.client.request.duration"} {
		if n := strings.Count(tel.metrics(t), name+" "); n != 501 {
			t.Errorf("%s: got %d sets of attributes, want 501", name, n)
		}
	}
	if metrics := tel.metrics(t); strings.Count(metrics, "chatdm.code=_OTHER") != 2*501 || strings.Count(metrics, "chatdm.kind=_OTHER") != 2*501 {
		t.Errorf("got other codes or kinds than _OTHER:\n%s", metrics)
	}
}

// TestStrangeContexts: an End with another context does nothing.
func TestStrangeContexts(t *testing.T) {
	tel := newTelemetry()
	tel.observer.CallEnd(t.Context(), chatdm.CallInfo{}, chatdm.CallEnd{})
	tel.observer.AttemptEnd(t.Context(), chatdm.AttemptInfo{}, chatdm.AttemptEnd{})
	// Some waits are outside of a call. The span of the caller is not that of a call.
	ctx, span := tel.tracers.Tracer("test").Start(t.Context(), "caller")
	wait := chatdm.WaitInfo{CallInfo: chatdm.CallInfo{Service: "rocketchat", Method: "chat.sendMessage"}, Reason: chatdm.WaitRefresh}
	tel.observer.WaitEnd(tel.observer.WaitStart(ctx, wait), wait, chatdm.WaitEnd{Duration: time.Second})
	span.End()
	want := "chatdm.wait.duration 1 in 1s\n  chatdm.method=chat.sendMessage chatdm.service=rocketchat chatdm.wait.reason=token_refresh\n"
	if got := tel.metrics(t); got != want || len(tel.spans.Ended()) != 1 || len(tel.spans.Ended()[0].Events()) != 0 {
		t.Errorf("got the spans\n%s\nand the metrics\n%s", tel.trace(), got)
	}
}

// TestProviders: without options, the providers are the global ones, and a nil provider is
// the same.
func TestProviders(t *testing.T) {
	tel := newTelemetry()
	defer otel.SetTracerProvider(otel.GetTracerProvider())
	defer otel.SetMeterProvider(otel.GetMeterProvider())
	otel.SetTracerProvider(tel.tracers)
	otel.SetMeterProvider(tel.meters)
	for _, observer := range []*chatdmotel.Observer{
		chatdmotel.NewObserver(), chatdmotel.NewObserver(chatdmotel.WithTracerProvider(nil), chatdmotel.WithMeterProvider(nil)),
	} {
		info := chatdm.CallInfo{Service: "slack", Method: "auth.test"}
		observer.CallEnd(observer.CallStart(t.Context(), info), info, chatdm.CallEnd{})
	}
	if n := len(tel.spans.Ended()); n != 2 || !strings.Contains(tel.metrics(t), "chatdm.call.duration 2 in 0s") {
		t.Errorf("got %d spans and the metrics\n%s\nwant two of each", n, tel.metrics(t))
	}
	for _, span := range tel.spans.Ended() {
		if scope := span.InstrumentationScope(); scope.Name != "github.com/chatdm/chatdm/chatdmotel" || !strings.HasSuffix(scope.SchemaURL, "/1.43.0") {
			t.Errorf("got scope %+v", scope)
		}
	}
}

// TestInvalidInstrument: the meter's errors are reported, and the observer works.
func TestInvalidInstrument(t *testing.T) {
	var reported error
	defer otel.SetErrorHandler(otel.GetErrorHandler())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { reported = err }))
	observer := chatdmotel.NewObserver(chatdmotel.WithTracerProvider(tracenoop.NewTracerProvider()), chatdmotel.WithMeterProvider(failingProvider{}))
	info := chatdm.CallInfo{Service: "slack", Method: "auth.test"}
	observer.CallEnd(observer.CallStart(t.Context(), info), info, chatdm.CallEnd{})
	if reported == nil || !strings.Contains(reported.Error(), "no chatdm.call.duration") {
		t.Errorf("got %v, want the error of the meter", reported)
	}
}

type failingProvider struct{ metricnoop.MeterProvider }

func (failingProvider) Meter(string, ...metricapi.MeterOption) metricapi.Meter { return failingMeter{} }

type failingMeter struct{ metricnoop.Meter }

func (failingMeter) Float64Histogram(name string, _ ...metricapi.Float64HistogramOption) (metricapi.Float64Histogram, error) {
	return metricnoop.Float64Histogram{}, errors.New("no " + name)
}

// TestConcurrency: goroutines share an observer.
func TestConcurrency(t *testing.T) {
	onSlack(t, func(t *testing.T, s *chatdmtest.Slack, tel *telemetry, client func(...chatdm.Option) *chatdm.Client) {
		clients := []*chatdm.Client{client(), client()}
		s.Fail("conversations.open", 20, retryAfter(503, "1"))
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if _, err := clients[i%2].Conversations.Open(t.Context(), alice); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		metrics := tel.metrics(t)
		if len(tel.spans.Ended()) != 120 || !strings.Contains(metrics, "chatdm.call.attempts 50 with 70 {attempt}") || !strings.Contains(metrics, "chatdm.calls.active 0 {call}") {
			t.Errorf("got %d spans, want 120, and the metrics\n%s", len(tel.spans.Ended()), metrics)
		}
	})
}

// TestServer: an attempt has the address and the port of the server.
func TestServer(t *testing.T) {
	for url, want := range map[string]string{
		"https://slack.com/api/auth.test":         "server.address=slack.com server.port=443",
		"http://chat.example/api/auth.test":       "server.address=chat.example server.port=80",
		"https://chat.example:8443/x/auth.test":   "server.address=chat.example server.port=8443",
		"https://[2001:db8::1]:444/api/auth.test": "server.address=2001:db8::1 server.port=444",
	} {
		tel := newTelemetry()
		attempt := chatdm.AttemptInfo{CallInfo: chatdm.CallInfo{Service: "slack", Method: "auth.test"}, Attempt: 1, HTTPMethod: "POST", URL: url}
		tel.observer.AttemptEnd(tel.observer.AttemptStart(t.Context(), attempt), attempt, chatdm.AttemptEnd{StatusCode: 200})
		if spans, metrics := tel.trace(), tel.metrics(t); !strings.Contains(spans, want+" url.full="+url+" ") || !strings.Contains(metrics, want) {
			t.Errorf("%s: got\n%s%s\nwant %s", url, spans, metrics, want)
		}
	}
}

// TestInstruments: the buckets and units of http.client.request.duration are those of the
// conventions, and the other histograms also cover long waits.
func TestInstruments(t *testing.T) {
	tel := newTelemetry()
	info := chatdm.CallInfo{Service: "slack", Method: "auth.test"}
	ctx := tel.observer.CallStart(t.Context(), info)
	attempt := chatdm.AttemptInfo{CallInfo: info, Attempt: 1, HTTPMethod: "POST", URL: "https://slack.com/api/auth.test"}
	tel.observer.AttemptEnd(tel.observer.AttemptStart(ctx, attempt), attempt, chatdm.AttemptEnd{StatusCode: 200})
	tel.observer.WaitEnd(ctx, chatdm.WaitInfo{CallInfo: info}, chatdm.WaitEnd{})
	tel.observer.CallEnd(ctx, info, chatdm.CallEnd{Attempts: 1})
	var all metricdata.ResourceMetrics
	if err := tel.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, m := range all.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Histogram[float64]:
			got[m.Name] = fmt.Sprint(m.Unit, data.DataPoints[0].Bounds)
		case metricdata.Histogram[int64]:
			got[m.Name] = fmt.Sprint(m.Unit, data.DataPoints[0].Bounds)
		case metricdata.Sum[int64]:
			got[m.Name] = fmt.Sprint(m.Unit, " monotonic: ", data.IsMonotonic)
		}
	}
	want := map[string]string{
		"chatdm.call.duration":         "s[0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 120 300]",
		"chatdm.call.attempts":         "{attempt}[0 1 2 3 4 5 10]",
		"chatdm.wait.duration":         "s[0.001 0.01 0.1 0.5 1 2.5 5 10 30 60 120 300]",
		"chatdm.calls.active":          "{call} monotonic: false",
		"http.client.request.duration": "s[0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("instruments (-want +got):\n%s", diff)
	}
}
