package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chatdm/chatdm/chatdmtest"
)

// TestMain checks that a stopped program leaks no goroutines.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program is a fakechat that runs in this process.
type program struct {
	t                       *testing.T
	slack, rocketchat, page string // base URLs
	stdout, stderr          *buffer
	stop                    func() error // ends run, and returns its error
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start starts the program with free ports.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{t: t, stdout: new(buffer), stderr: new(buffer)}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	args = append([]string{"-slack", "127.0.0.1:0", "-rocketchat", "127.0.0.1:0", "-page", "127.0.0.1:0"}, args...)
	go func() { result <- run(ctx, args, p.stdout, p.stderr) }()
	p.stop = sync.OnceValue(func() error {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		return <-result
	})
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	announced := regexp.MustCompile(`(?s)^Slack +(\S+)\n.*\nRocket.Chat +(\S+) .*\nPage +(\S+)\n$`)
	for {
		if urls := announced.FindStringSubmatch(p.stdout.String()); urls != nil {
			p.slack, p.rocketchat, p.page = urls[1], urls[2], urls[3]
			return p
		}
		select {
		case err := <-result:
			result <- err
			t.Fatalf("got %v, want a running program", err)
		case <-time.After(time.Millisecond):
		}
	}
}

// send sends a request, and returns the status and body of the response.
func (p *program) send(method, url, contentType, body string, header ...string) string {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "no response"
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "incomplete response"
	}
	return fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(text)))
}

const form = "application/x-www-form-urlencoded"

// fake posts a form to the control API.
func (p *program) fake(path, body string) string {
	p.t.Helper()
	return p.send("POST", p.page+"/fake/"+path, form, body)
}

// call calls a method of Slack with the token of the bot.
func (p *program) call(method, body string) string {
	p.t.Helper()
	return p.send("POST", p.slack+"/"+method, form, body, "Authorization", "Bearer "+chatdmtest.BotToken)
}

func check(t *testing.T, name, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", name, got, want)
	}
}

func TestUsage(t *testing.T) {
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	const help = "; -help shows the usage"
	for _, tt := range []struct {
		args  string
		want  string
		usage bool // the exit status is 2
	}{
		{"-page :0 -bogus", "flag provided but not defined: -bogus" + help, true},
		{"serve", `unexpected argument "serve"` + help, true},
		{"-generation 9.x", `-generation: got "9.x", want one of ["8.x" "7.x" "4.8-6.x" "3.18-4.7" "before 3.18"]` + help, true},
		{"-cert cert.pem", "-cert: needs -tls" + help, true},
		{"-slack 7301", `-slack: got "7301", want an address such as 127.0.0.1:7300` + help, true},
		{"-page localhost", `-page: got "localhost", want an address such as 127.0.0.1:7300` + help, true},
		{"-slack " + busy.Addr().String(), "-slack: the address " + busy.Addr().String() + " is in use; choose another one, or port 0", false},
		{"-slack 127.0.0.1:0 -rocketchat 127.0.0.1:0 -page 127.0.0.1:0 -tls -cert /no/such/folder/cert.pem",
			"-cert: open /no/such/folder/cert.pem: ", false},
	} {
		var stdout, stderr buffer
		err := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || stdout.String() != "" {
			t.Errorf("%s: got %v and output %q, want %s and no output", tt.args, err, stdout.String(), tt.want)
		}
		if _, usage := errors.AsType[usageError](err); usage != tt.usage {
			t.Errorf("%s: got a usage error %t, want %t", tt.args, usage, tt.usage)
		}
	}
}

func TestHelp(t *testing.T) {
	var stdout, stderr buffer
	if err := run(t.Context(), []string{"-help"}, &stdout, &stderr); err != nil || stderr.String() != "" {
		t.Fatalf("got %v and errors %q, want none", err, stderr.String())
	}
	for line := range strings.Lines(stdout.String()) {
		if len(line) > 90 {
			t.Errorf("got %d bytes, want at most 90: %s", len(line), line)
		}
	}
	for name := range reflect.TypeFor[options]().Fields() {
		flag := "-" + strings.ReplaceAll(snakeCase(name.Name), "_", "-")
		if flag = strings.TrimSuffix(flag, "s"); name.Name == "tls" {
			flag = "-tls"
		}
		if !strings.Contains(stdout.String(), "\n  "+flag) {
			t.Errorf("the usage lacks %s", flag)
		}
	}
}

// Every field of a Fault is a parameter, is documented, and is on the page.
func TestFaultFields(t *testing.T) {
	docs, err := os.ReadFile("../../../docs/fakechat.md")
	if err != nil {
		t.Fatal(err)
	}
	for field := range reflect.TypeFor[chatdmtest.Fault]().Fields() {
		name := snakeCase(field.Name)
		p := &parameters{}
		p.fields(new(chatdmtest.Fault))
		if !strings.Contains(strings.Join(p.known, " "), name) {
			t.Errorf("%s is no parameter", name)
		}
		if !regexp.MustCompile(`[ ,]` + name + `[ ,]`).MatchString(apiHelp) {
			t.Errorf("the usage lacks %s", name)
		}
		if !bytes.Contains(page, []byte(`name="`+name+`"`)) {
			t.Errorf("the page lacks %s", name)
		}
		if !bytes.Contains(docs, []byte("`"+name+"`")) {
			t.Errorf("docs/fakechat.md lacks %s", name)
		}
	}
}

func TestAnnouncement(t *testing.T) {
	p := start(t, "-generation", "7.x")
	p.send("GET", p.page+"/fake/state", "", "")
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(p.stdout.String(), "ADDR")
	check(t, "output", got, `Slack        http://ADDR/api
  token      xoxb-chatdmtest-bot (bot UBOT)
  token      xoxp-chatdmtest-user (user UADMIN)
Rocket.Chat  http://ADDR (version 7.x)
  token      chatdmtest-member-token (user chatdmtestMember1)
  token      chatdmtest-admin-token (admin chatdmtestAdmin01)
  password   chatdmtest-password, for every user
Users        alice U0ALICE01, bob U0BOB0001, carol U0CAROL01, dave U0DAVE001
             erin U0ERIN001, frank U0FRANK01, grace U0GRACE01, heidi U0HEIDI01
  Slack only disabled U0DISABLED, hidden U0HIDDEN01, otherbot U0OTHERBOT
Page         http://ADDR
fakechat has stopped.
`)
	check(t, "errors", p.stderr.String(), "")
}

// On all interfaces, the program prints an address that works, and a warning.
func TestAllInterfaces(t *testing.T) {
	p := start(t, "-page", ":0")
	if !regexp.MustCompile(`^http://127\.0\.0\.1:\d+$`).MatchString(p.page) {
		t.Errorf("got page %s, want a URL with 127.0.0.1", p.page)
	}
	if got := p.send("GET", p.page+"/", "", ""); !strings.HasPrefix(got, "200 <!doctype html>") {
		t.Errorf("got %.40s, want the page", got)
	}
	want := regexp.MustCompile(`^fakechat: -page: anyone who can reach \[::\]:\d+ can use it\n$|^fakechat: -page: anyone who can reach 0\.0\.0\.0:\d+ can use it\n$`)
	if got := p.stderr.String(); !want.MatchString(got) {
		t.Errorf("got errors %q, want %s", got, want)
	}
}

func TestOptions(t *testing.T) {
	p := start(t, "-retired-im", "-generation", "before 3.18")
	if got := p.call("im.open", "user=U0ALICE01"); !strings.Contains(got, `"error":"method_deprecated"`) {
		t.Errorf("im.open: got %s, want method_deprecated", got)
	}
	got := p.send("POST", p.rocketchat+"/api/v1/im.delete", "application/json", "{}")
	if !strings.HasPrefix(got, "200 <!DOCTYPE html>") {
		t.Errorf("im.delete: got %s, want the web application", got)
	}
	check(t, "reset", p.fake("reset", ""), `200 {"reset":["slack","rocketchat"]}`)
	if got := p.call("im.open", "user=U0ALICE01"); !strings.Contains(got, `"error":"method_deprecated"`) {
		t.Errorf("im.open after a reset: got %s, want method_deprecated", got)
	}
}

func TestTLS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cert.pem")
	p := start(t, "-tls", "-cert", file, "-host", "fakechat, chat.example")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		t.Fatalf("got %s, want one certificate", text)
	}
	sum := sha256.Sum256(block.Bytes)
	if want := "\nCertificate  SHA-256 " + strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":") + "\n"; !strings.Contains(p.stdout.String(), want) {
		t.Errorf("got %s, want %s", p.stdout.String(), want)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	for _, name := range []string{"127.0.0.1", "localhost", "::1", "fakechat", "chat.example"} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport}
		for _, url := range []string{p.slack + "/api.test", p.rocketchat + "/api/v1/me"} {
			resp, err := client.Get(url)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			resp.Body.Close()
			if !strings.HasPrefix(url, "https://") || resp.Proto != "HTTP/1.1" {
				t.Errorf("got %s and %s, want https and HTTP/1.1", url, resp.Proto)
			}
		}
		p.fake("fail", "cut=in+body") // works over TLS
		resp, err := client.Get(p.slack + "/api.test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
		}
		resp.Body.Close()
	}
	if got := p.send("GET", p.slack+"/api.test", "", ""); got != "no response" {
		t.Errorf("without the certificate: got %s, want no response", got)
	}
	if !strings.HasPrefix(p.page, "http://") {
		t.Errorf("got page %s, want http", p.page)
	}
}

// A signal ends the program even while responses are delayed or stalled and pages
// are open.
func TestStop(t *testing.T) {
	p := start(t)
	p.fake("fail", "method=api.test&delay=1h")
	p.fake("fail", "method=auth.test&stall=in+header")
	var requests sync.WaitGroup
	for _, method := range []string{"api.test", "auth.test"} {
		requests.Go(func() {
			if got := p.call(method, ""); got != "no response" {
				t.Errorf("%s: got %s, want no response", method, got)
			}
		})
	}
	events := openEvents(t, p)
	events.next()
	for !strings.Contains(p.send("GET", p.page+"/fake/state?platform=slack", "", ""), `"request_count":2`) {
		time.Sleep(time.Millisecond)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	requests.Wait()
	if !strings.HasSuffix(p.stdout.String(), "fakechat has stopped.\n") {
		t.Errorf("got %q, want a last line", p.stdout.String())
	}
}
