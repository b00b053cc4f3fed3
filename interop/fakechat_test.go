package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/chatdm/chatdm/chatdmtest"
)

// fakechat is a running fakechat program.
type fakechat struct {
	t                       *testing.T
	slack, rocketchat, page string // base URLs
}

// buildFakechat returns the name of the program.
func buildFakechat(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fakechat")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", name, "github.com/chatdm/chatdm/chatdmtest/cmd/fakechat")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return name
}

// startFakechat starts the program. The returned function interrupts it, and checks
// that it stops without an error.
func startFakechat(t *testing.T, program, pageAddr string) (f *fakechat, stop func()) {
	t.Helper()
	cmd := exec.Command(program, "-slack", "127.0.0.1:0", "-rocketchat", "127.0.0.1:0", "-page", pageAddr)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f = &fakechat{t: t}
	lines := bufio.NewScanner(stdout)
	for f.page == "" && lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		value, _, _ = strings.Cut(strings.TrimSpace(value), " ")
		switch name {
		case "Slack":
			f.slack = value
		case "Rocket.Chat":
			f.rocketchat = value
		case "Page":
			f.page = value
		}
	}
	stop = sync.OnceFunc(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			t.Errorf("fakechat: got %v after SIGINT, want no error", err)
		}
	})
	t.Cleanup(stop)
	if f.page == "" {
		t.Fatal("fakechat printed no address")
	}
	return f, stop
}

// call calls a method of Slack with a token, and returns the response.
func (f *fakechat) call(token, method string, args url.Values) (response struct {
	Error   string
	Channel json.RawMessage
}) {
	f.t.Helper()
	r, err := http.NewRequest("POST", f.slack+"/"+method, strings.NewReader(args.Encode()))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer "+token)
	f.do(r, &response)
	return response
}

// open opens a conversation of the bot, and returns its ID.
func (f *fakechat) open(users string) (id string) {
	var channel struct{ ID string }
	if err := json.Unmarshal(f.call(chatdmtest.BotToken, "conversations.open", url.Values{"users": {users}}).Channel, &channel); err != nil {
		f.t.Fatal(err)
	}
	return channel.ID
}

func (f *fakechat) post(token, channel, text string) {
	f.call(token, "chat.postMessage", url.Values{"channel": {channel}, "text": {text}})
}

// postRocketChat posts a message to alice.
func (f *fakechat) postRocketChat(text string) {
	body, _ := json.Marshal(map[string]string{"channel": "@alice", "text": text})
	r, err := http.NewRequest("POST", f.rocketchat+"/api/v1/chat.postMessage", strings.NewReader(string(body)))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-User-Id", chatdmtest.RocketChatMemberID)
	r.Header.Set("X-Auth-Token", chatdmtest.RocketChatMemberToken)
	f.do(r, nil)
}

// control calls the control API.
func (f *fakechat) control(path string, form url.Values) {
	f.t.Helper()
	r, err := http.NewRequest("POST", f.page+path, strings.NewReader(form.Encode()))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	f.do(r, nil)
}

func (f *fakechat) do(r *http.Request, response any) {
	f.t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return // a fault can cut the response
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if response != nil {
		_ = json.Unmarshal(body, response)
	} else if resp.StatusCode != 200 {
		f.t.Errorf("%s: got %d %s", r.URL, resp.StatusCode, body)
	}
}

// browser is a tab of Chromium.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// newBrowser starts Chromium. The test fails if the page reports an error, throws an
// exception, violates its Content-Security-Policy, or opens a dialog. It ignores failed
// requests for a path.
func newBrowser(t *testing.T, ignoredPath string) *browser {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		unavailable(t, "chromium is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.WindowSize(1280, 800))
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {})) // about events that chromedp does not know
	t.Cleanup(cancel)
	// The first call starts the browser, and must not have a deadline of its own.
	err := chromedp.Listen(ctx, func(event any) {
		switch event := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("exception on the page: %v", event.ExceptionDetails)
		case *cdplog.EventEntryAdded:
			if event.Entry.Level == cdplog.EntryLevelError && !strings.HasSuffix(event.Entry.URL, ignoredPath) {
				t.Errorf("error on the page: %s %s", event.Entry.Text, event.Entry.URL)
			}
		case *page.EventJavascriptDialogOpening:
			t.Errorf("dialog on the page: %s", event.Message)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, ctx}
}

func (b *browser) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// wait waits until a JavaScript expression is true.
func (b *browser) wait(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(20*time.Millisecond))); err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
}

// text returns the value of a JavaScript expression.
func (b *browser) text(expression string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return text
}

// emulate sets the size of the window and the color scheme.
func (b *browser) emulate(width, height int64, scheme string) {
	b.t.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, media); err != nil {
		b.t.Fatal(err)
	}
	size := emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600}
	if _, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, size); err != nil {
		b.t.Fatal(err)
	}
}

// screenshot saves a screenshot if the environment names a folder for it.
func (b *browser) screenshot(name string) {
	b.t.Helper()
	dir := os.Getenv("FAKECHAT_SCREENSHOTS")
	if dir == "" {
		return
	}
	time.Sleep(1500 * time.Millisecond) // until animations have ended
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// lastText is a JavaScript expression for the text of the last message.
const lastText = `document.querySelector("#messages li:last-child .text")?.textContent`

func TestFakechatPage(t *testing.T) {
	f, _ := startFakechat(t, buildFakechat(t), "127.0.0.1:0")
	b := newBrowser(t, "/fake/fail") // the mistake in the form
	b.run(chromedp.Navigate(f.page))
	b.wait(`document.getElementById("live").textContent === "live"`)

	// A message appears, with names and without interpreting HTML.
	const html = "<img src=x onerror=alert(1)>"
	dm := f.open(chatdmtest.Alice)
	for sent, want := range map[string]string{
		"Hello & welcome": "Hello & welcome",
		"<@" + chatdmtest.Alice + "> &lt;img src=x onerror=alert(1)&gt; <https://example.com/?a=1&amp;b=2|docs>": "@alice " + html + " docs",
	} {
		f.post(chatdmtest.BotToken, dm, sent)
		b.wait(fmt.Sprintf("%s === %q", lastText, want))
	}
	if got := b.text(`document.querySelector("#conversations strong").textContent`); got != "alice" {
		t.Errorf("got conversation %q, want alice", got)
	}
	if got := b.text(`document.querySelector("#messages a").href`); got != "https://example.com/?a=1&b=2" {
		t.Errorf("got link %q, want https://example.com/?a=1&b=2", got)
	}
	b.run(chromedp.Click(`//button[text()="Rocket.Chat"]`))
	f.postRocketChat(html)
	b.wait(fmt.Sprintf("%s === %q", lastText, html))
	if got := b.text(`String(document.querySelectorAll("img, #messages script").length)`); got != "0" {
		t.Errorf("got %s images and scripts from messages, want 0", got)
	}
	b.run(chromedp.Click(`//button[text()="Slack"]`))

	// A fault that is set on the page, with the keyboard alone, hits the next call.
	b.run(chromedp.Focus(`#fault [name=method]`), chromedp.KeyEvent("chat.postMessage"), chromedp.KeyEvent(kb.Tab+kb.Tab),
		chromedp.KeyEvent("service_unavailable"), chromedp.KeyEvent(kb.Enter))
	b.wait(`document.querySelector("#pending li")?.textContent === "chat.postMessage service_unavailablenext call"`)
	if got := f.call(chatdmtest.BotToken, "auth.test", nil).Error; got != "" {
		t.Errorf("auth.test: got error %q, want none", got)
	}
	text := url.Values{"channel": {dm}, "text": {"hit"}, "token": {chatdmtest.UserToken}}
	for _, want := range []string{"service_unavailable", ""} {
		if got := f.call(chatdmtest.BotToken, "chat.postMessage", text).Error; got != want {
			t.Errorf("got error %q, want %q", got, want)
		}
	}
	b.wait(`!document.querySelector("#pending li")`)
	b.wait(`document.querySelector("#requests li:nth-child(2) .outcome")?.textContent.includes("fault: service_unavailable")`)

	// A mistake in the form is explained.
	b.run(chromedp.SetValue(`#fault [name=status]`, "99"), chromedp.Click(`#fault button`))
	b.wait(`document.getElementById("fault-result").textContent === 'status: got "99", want 200 to 599'`)

	// No token is shown, even if a request has one as an argument.
	b.run(chromedp.Click(`#requests li:first-child summary`))
	b.wait(`[...document.querySelectorAll("#requests dl div")].some(row => row.textContent === "token(hidden)")`)
	if got := b.text(`document.documentElement.outerHTML`); strings.Contains(got, chatdmtest.BotToken) || strings.Contains(got, chatdmtest.UserToken) {
		t.Error("the page shows a token")
	}

	// Nothing overflows a phone horizontally, in any view. In dark mode, the background
	// is dark and the text is light.
	f.call(chatdmtest.BotToken, "chat.postMessage", url.Values{
		"channel": {dm}, "text": {strings.Repeat("long", 100)}, "metadata": {`{"event_type":"` + strings.Repeat("m", 90) + `","event_payload":{}}`},
	})
	b.wait(lastText + `.startsWith("longlong")`)
	b.wait(`document.querySelector("#messages li:last-child .reply").textContent.startsWith("metadata {")`)
	f.control("/fake/fail", url.Values{"times": {"-1"}, "method": {strings.Repeat("x", 60)}, "body": {strings.Repeat("y", 60)}, "header": {"X-Test: " + strings.Repeat("z", 60)}})
	b.wait(`document.querySelector("#pending li")`)
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{320, 380, 700, 1000, 1280} {
			b.emulate(width, 740, scheme)
			for _, view := range []string{"messages", "requests", "faults"} {
				if width <= 1080 {
					b.run(chromedp.Click(`[data-view=` + view + `]`))
				}
				b.run(chromedp.Evaluate[chromedp.Void](`for (const d of document.querySelectorAll("details")) d.open = true`))
				if got := b.text(overflowing); got != "" {
					t.Errorf("width %d, %s: %s", width, view, got)
				}
			}
		}
		const lightness = `(() => { const [background, text] = ["backgroundColor", "color"].map(name => {
			const [r, g, b] = getComputedStyle(document.body)[name].match(/\d+/g).map(Number); return (r + g + b) / 3; });
			return background < 64 && text > 192 ? "dark" : background > 192 && text < 64 ? "light" : background + " " + text; })()`
		if got := b.text(lightness); got != scheme {
			t.Errorf("got colors %s, want %s", got, scheme)
		}
	}
}

// overflowing is a JavaScript expression for the elements that are wider than the
// window or than the box that clips them.
const overflowing = `(() => {
	const width = document.documentElement.clientWidth;
	const bad = document.documentElement.scrollWidth > width ? ["the page has " + document.documentElement.scrollWidth + "px"] : [];
	for (const node of document.body.querySelectorAll("*")) {
		const box = node.getBoundingClientRect();
		if (box.width && (box.right > width + 0.5 || box.left < -0.5)) bad.push(node.tagName + "." + node.className + "#" + node.id);
		if (node.matches("button, .panel, .scroll, form, .text, summary, dd, pre, #pending li, .bar, header") && node.scrollWidth > node.clientWidth + 1)
			bad.push("content of " + node.tagName + "." + node.className + "#" + node.id);
	}
	return bad.join(", ");
})()`

// After fakechat restarts, the page connects again and shows the new state.
func TestFakechatPageReconnects(t *testing.T) {
	program := buildFakechat(t)
	f, stop := startFakechat(t, program, "127.0.0.1:0")
	b := newBrowser(t, "/fake/events")
	b.run(chromedp.Navigate(f.page))
	f.post(chatdmtest.BotToken, f.open(chatdmtest.Alice), "before")
	b.wait(lastText + ` === "before"`)
	stop()
	b.wait(`document.getElementById("live").textContent === "reconnecting"`)
	f, _ = startFakechat(t, program, strings.TrimPrefix(f.page, "http://"))
	f.post(chatdmtest.BotToken, f.open(chatdmtest.Bob), "after")
	b.wait(lastText + ` === "after"`)
	if got := b.text(`document.getElementById("conversations").textContent`); strings.Contains(got, "alice") {
		t.Errorf("got conversations %q, want only the one with bob", got)
	}
}

// TestFakechatScreenshot makes docs/fakechat.png, and images for a look at the page,
// if the environment variable FAKECHAT_SCREENSHOTS names a folder.
func TestFakechatScreenshot(t *testing.T) {
	if os.Getenv("FAKECHAT_SCREENSHOTS") == "" {
		t.Skip("FAKECHAT_SCREENSHOTS is not set")
	}
	f, _ := startFakechat(t, buildFakechat(t), "127.0.0.1:0")
	b := newBrowser(t, "-")
	b.emulate(1280, 860, "light")
	b.run(chromedp.Navigate(f.page))
	b.wait(`document.getElementById("live").textContent === "live"`)
	b.screenshot("empty")

	const aliceToken, bobToken = "xoxp-screenshot-alice", "xoxp-screenshot-bob"
	f.control("/fake/token", url.Values{"value": {aliceToken}, "user": {chatdmtest.Alice}})
	f.control("/fake/token", url.Values{"value": {bobToken}, "user": {chatdmtest.Bob}})
	f.call(chatdmtest.BotToken, "auth.test", nil)
	carol := f.open(chatdmtest.Carol)
	f.post(chatdmtest.BotToken, carol, "The nightly backup finished in 12 minutes.")
	group := f.open(chatdmtest.Alice + "," + chatdmtest.Bob)
	f.post(chatdmtest.BotToken, group, "Build 412 passed. Who wants to release it?")
	f.post(bobToken, group, "I can do it after lunch.")
	f.call(chatdmtest.BotToken, "conversations.open", url.Values{"users": {chatdmtest.DisabledUser}})
	time.Sleep(1100 * time.Millisecond)
	alice := f.open(chatdmtest.Alice)
	f.post(chatdmtest.BotToken, alice, "Good morning <@"+chatdmtest.Alice+">! Your deployment to *staging* is ready for review: <https://example.com/deployments/412|deployment 412>")
	f.post(aliceToken, alice, "Thanks! Does it include the fix for the login page?")
	f.control("/fake/limit", url.Values{"method": {"conversations.open"}, "calls": {"50"}, "window": {"1m"}})
	f.post(chatdmtest.BotToken, alice, "Yes. It also needs your approval before 17:00.")
	f.control("/fake/fail", url.Values{"method": {"chat.postMessage"}, "status": {"503"}})
	f.post(chatdmtest.BotToken, alice, "Reply `approve` or `reject`.")
	f.post(chatdmtest.BotToken, alice, "Reply approve or reject.")
	f.control("/fake/fail", url.Values{"method": {"conversations.history"}, "delay": {"1s"}})
	f.call(chatdmtest.BotToken, "conversations.history", url.Values{"channel": {alice}, "limit": {"10"}})
	f.post(aliceToken, alice, "approve")
	f.control("/fake/fail", url.Values{"method": {"chat.postMessage"}, "cut": {"before header"}, "apply": {"true"}})
	f.post(chatdmtest.BotToken, alice, "Deployed. ✓")
	f.call(chatdmtest.BotToken, "conversations.open", url.Values{"users": {"U404"}})
	f.control("/fake/fail", url.Values{"method": {"chat.postMessage"}, "code": {"ratelimited"}, "times": {"2"}})
	f.postRocketChat("Hello from Rocket.Chat")
	b.wait(lastText + ` === "Deployed. ✓"`)
	b.screenshot("fakechat")
	b.emulate(1280, 860, "dark")
	b.screenshot("dark")
	b.run(chromedp.Evaluate[chromedp.Void](`for (const d of document.querySelectorAll("details")) d.open = true`))
	b.screenshot("open")
	b.run(chromedp.Evaluate[chromedp.Void](`for (const d of document.querySelectorAll("details")) d.open = false`))
	b.emulate(900, 700, "light")
	b.screenshot("tablet")
	b.emulate(380, 780, "light")
	for _, view := range []string{"messages", "requests", "faults"} {
		b.run(chromedp.Click(`[data-view=` + view + `]`))
		b.screenshot("phone-" + view)
	}
	b.emulate(380, 780, "dark")
	b.run(chromedp.Evaluate[chromedp.Void](`for (const d of document.querySelectorAll("details")) d.open = true`))
	b.screenshot("phone-dark")
}

// The programs in docs/fakechat.md print what the page says, and its command for curl
// works.
func TestFakechatDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/fakechat.md")
	if err != nil {
		t.Fatal(err)
	}
	f, _ := startFakechat(t, buildFakechat(t), "127.0.0.1:0")
	page := strings.NewReplacer("http://127.0.0.1:7300", f.page, "http://127.0.0.1:7301/api", f.slack).Replace(string(text))
	run := func(name, code string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Stdin = strings.NewReader(code)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}

	blocks := regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$\n").FindAllStringSubmatch(page, -1)
	ran := 0
	for i, block := range blocks {
		switch language, code := block[1], block[2]; language {
		case "bash":
			if !strings.Contains(code, f.page) {
				continue // needs a certificate or a container
			}
			want := `{"faults":[{"method":"chat.postMessage","times":1,"fault":{"apply":true,"cut":"before header"}}]}` + "\n"
			if got := run("bash", strings.Replace(code, "curl ", "curl -sS ", 1)); got != want {
				t.Errorf("curl: got %s, want %s", got, want)
			}
		case "js", "python":
			name, args := "node", []string{"--input-type=module", "-"}
			if language == "python" {
				name, args = "python3", []string{"-"}
			}
			if _, err := exec.LookPath(name); err != nil {
				t.Logf("%s is not installed", name)
				break
			}
			if got := run(name, code, args...); got != blocks[i+1][2] {
				t.Errorf("%s: got %s, want %s", name, got, blocks[i+1][2])
			}
		default:
			continue
		}
		ran++
	}
	if ran != 3 {
		t.Errorf("got %d programs, want 3", ran)
	}
}
