package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// TestOneSweepPerJournal checks that a second sweep cannot use the journal of a
// running one, by whatever name, and can use it after the first was killed.
func TestOneSweepPerJournal(t *testing.T) {
	b := newBench(t)
	b.open(t, 5)
	b.slack.Fail("conversations.close", 1, chatdmtest.Fault{})
	b.slack.Fail("conversations.close", -1, chatdmtest.Fault{Delay: 3 * time.Second})
	cmd := exec.Command(os.Args[0], "-ids", b.path("ids"), "-journal", b.path("journal"), "-per-minute", "0")
	cmd.Env = append(os.Environ(), asProgram+"=1", "SLACK_TOKEN="+chatdmtest.UserToken, "SLACK_API_URL="+b.slack.URL)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if time.Sleep(10 * time.Millisecond); b.closes() == 5 { // one is closed, four are running
			break
		}
	}
	names := append(b.links(t, "journal"), "journal")
	for _, name := range names {
		calls := b.closes()
		b.must(t, 1, "another sweep is using the journal", "-resume", "-journal", "@"+name)
		b.must(t, 1, "another sweep is using the journal", "-ids", "@ids", "-journal", "@"+name)
		if n := b.closes() - calls; n != 0 {
			t.Errorf("%s: got %d calls of the second sweep, want 0", name, n)
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	b.slack.ClearFaults()
	b.must(t, 0, "5  in total", "-resume", "-journal", "@"+names[0])
	b.must(t, 0, "5  in total", "-resume")
}

// links returns the names of a symbolic link, a hard link, and a path through a
// linked directory, which all lead to a file of the bench.
func (b *bench) links(t *testing.T, name string) []string {
	t.Helper()
	if err := os.Symlink(b.dir, b.path("dir-link")); err != nil {
		t.Skip("cannot make symbolic links:", err)
	}
	if err := os.Symlink(name, b.path(name+"-symlink")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(b.path(name), b.path(name+"-hardlink")); err != nil {
		t.Fatal(err)
	}
	return []string{name + "-symlink", name + "-hardlink", filepath.Join("dir-link", name)}
}

// TestOneFileTwoFlags checks that no file serves two purposes, and that nothing
// is written to one that would.
func TestOneFileTwoFlags(t *testing.T) {
	b := newBench(t)
	b.open(t, 2)
	refused := func(first, second string, args ...string) {
		t.Helper()
		before := b.files(t)
		b.must(t, 1, "sweep: "+first+" and "+second+" name the same file", args...)
		if after := b.files(t); after != before {
			t.Errorf("%q changed the files:\n%s\nbefore:\n%s", args, after, before)
		}
	}

	// Before the journal and the summary exist.
	if err := os.Symlink("new", b.path("dangling")); err != nil {
		t.Skip("cannot make symbolic links:", err)
	}
	if err := os.Symlink("dangling", b.path("chain")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(".", b.path("here")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(b.dir)
	for _, name := range []string{"new", "@new", "./new", "dangling", "chain", "here/new", "here/../" + filepath.Base(b.dir) + "/new"} {
		refused("-journal", "-json", "-ids", "@ids", "-journal", "@new", "-json", name)
		refused("-journal", "-json", "-ids", "@ids", "-journal", name, "-json", "@new")
		refused("-journal", "-json", "-list", "-journal", name, "-json", "@new")
	}
	refused("-journal", "-json", "-ids", "@ids", "-journal", "@none/new", "-json", "@none/new")

	// The list of IDs.
	for _, name := range append(b.links(t, "ids"), "ids") {
		refused("-ids", "-json", "-ids", "@ids", "-json", "@"+name)
		refused("-ids", "-json", "-ids", "@"+name, "-json", "@ids")
		refused("-ids", "-journal", "-ids", "@ids", "-journal", "@"+name)
		refused("-ids", "-journal", "-resume", "-ids", "@ids", "-journal", "@"+name)
	}
	input, err := os.Open(b.path("ids"))
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	b.stdin = input
	refused("-ids", "-json", "-ids", "-", "-json", "@ids")
	refused("-ids", "-journal", "-ids", "-", "-journal", "@ids")

	// The journal.
	b.must(t, 0, "2  closed", "-ids", "@ids")
	os.Remove(b.path("dir-link"))
	for _, name := range append(b.links(t, "journal"), "journal") {
		refused("-journal", "-json", "-resume", "-json", "@"+name)
		refused("-journal", "-json", "-resume", "-journal", "@"+name, "-json", "@journal")
	}
	t.Run("default journal", func(t *testing.T) {
		if err := os.Rename(b.path("journal"), b.path("sweep.journal")); err != nil {
			t.Fatal(err)
		}
		before := read(t, "sweep.journal")
		b.env = nil // no token: the demo
		b.must(t, 1, "-journal and -json name the same file", "-json", "sweep.journal")
		if read(t, "sweep.journal") != before {
			t.Error("the journal was overwritten")
		}
	})

	// Names that only look alike.
	b = newBench(t)
	b.open(t, 2)
	if err := os.Mkdir(b.path("sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.must(t, 0, "2  closed", "-ids", "@ids", "-journal", "@out", "-json", "@sub/out")
	b.must(t, 0, "", "-resume", "-journal", "@out", "-json", "-")
}

// files returns the names and contents of the files of the bench.
func (b *bench) files(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, e := range entries {
		content, _ := os.ReadFile(b.path(e.Name())) // a link may lead nowhere
		text.WriteString(e.Name() + ": " + string(content) + "\n")
	}
	return text.String()
}
