package chatdmtest_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"testing"
)

const formType = "application/x-www-form-urlencoded"

// httpResponse is a response whose body has been read.
type httpResponse struct {
	status int
	header http.Header
	body   string
}

// send sends a request to a fake server and fails the test if there is no complete
// response.
func send(t *testing.T, server interface{ Client() *http.Client }, r *http.Request) httpResponse {
	t.Helper()
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return readResponse(t, resp)
}

// readResponse reads and closes the body of a response.
func readResponse(t *testing.T, resp *http.Response) httpResponse {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return httpResponse{resp.StatusCode, resp.Header, string(body)}
}

func checkBody(t *testing.T, name, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", name, got, want)
	}
}

func base64Text(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
