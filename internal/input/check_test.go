package input_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/chatdm/chatdm/internal/input"
)

func FuzzCheckID(f *testing.F) {
	for _, seed := range []string{"", "U1", "U1,U2", "U 1", "U\u200b1", "\xff", "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if input.CheckID("id", id) == nil && (id == "" || strings.ContainsAny(id, " ,\t\r\n\x00") || !utf8.ValidString(id)) {
			t.Errorf("%q: got a valid ID, want an error", id)
		}
		if err := input.CheckCredential("token", id); err == nil {
			if strings.ContainsAny(id, " \r\n\x00") || id == "" {
				t.Errorf("%q: got a valid credential, want an error", id)
			}
		} else if len(id) > 3 && strings.Contains(err.Error(), id) && !strings.Contains("token: must contain only printable ASCII characters and no spaces", id) {
			t.Errorf("got error %v, want one that does not show the credential", err)
		}
	})
}
