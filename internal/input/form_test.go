package input_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chatdm/chatdm/internal/input"
)

type (
	author struct {
		Name string `json:"name"`
		Age  int    `json:"age,omitempty"`
	}
	// interval encodes itself.
	interval struct{ from, to string }
	// embedded is embedded in other params.
	embedded struct {
		Channel string `url:"channel"`
		Blocks  []any  `url:"blocks,omitempty"`
	}
	embeddedJSON struct {
		ThreadTS string `json:"thread_ts"`
	}
	embeddedToken struct {
		Token string `url:"token"`
	}
	// id and labels are Stringers of kinds that fmt would print as Go syntax.
	id     [16]byte
	labels map[string]int
	// seven is empty if it is 7.
	seven struct{ N int }
)

func (i id) String() string     { return fmt.Sprintf("id-%d", i[0]) }
func (l labels) String() string { return fmt.Sprintf("%d labels", len(l)) }
func (s seven) IsZero() bool    { return s.N == 7 }

func (i interval) EncodeValues(key string, v *url.Values) error {
	v.Set(key, i.from+".."+i.to)
	return nil
}

// TestParams: nested values are sent as JSON, as Slack documents, and all other
// values as go-querystring encodes them.
func TestParams(t *testing.T) {
	at := time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)
	alice, addr, x := author{Name: "alice"}, netip.MustParseAddr("10.0.0.1"), "x"
	var none *author
	px, pNone := &x, &none
	section := map[string]any{"type": "section", "n": 1}
	const blocks = `blocks=[{"n":1,"type":"section"}]`

	for _, tt := range []struct {
		params any
		want   string // unescaped
	}{
		{struct {
			Blocks []map[string]any `url:"blocks"`
		}{[]map[string]any{section}}, blocks},
		{struct {
			Blocks any `url:"blocks"`
		}{[]map[string]any{section}}, blocks},
		{struct {
			Blocks []any `url:"blocks"`
		}{[]any{section}}, blocks},
		{struct {
			Blocks [1]map[string]any `url:"blocks"`
		}{[1]map[string]any{section}}, blocks},
		{&struct {
			A author   `url:"a"`
			B *author  `url:"b"`
			C any      `url:"c"`
			D any      `url:"d"`
			E []author `url:"e,comma"`
			F []*author
		}{alice, &alice, alice, &alice, []author{alice, {"bob", 7}}, []*author{&alice}},
			`F=[{"name":"alice"}]&a={"name":"alice"}&b={"name":"alice"}&c={"name":"alice"}&d={"name":"alice"}&e=[{"name":"alice"},{"name":"bob","age":7}]`},
		{struct {
			Rows [][]string        `url:"rows"`
			A    map[string]any    `url:"a"`
			B    map[string]string `url:"b"`
			C    any               `url:"c"`
		}{[][]string{{"a", "b"}, {"c"}}, map[string]any{"x": 1}, map[string]string{"x": "y"}, map[string]string{"x": "y"}},
			`a={"x":1}&b={"x":"y"}&c={"x":"y"}&rows=[["a","b"],["c"]]`},
		{struct {
			A json.RawMessage `url:"a"`
			B any             `url:"b"`
		}{json.RawMessage(`[ {"a": 1.0} ]`), json.RawMessage(`[ {"<": 1} ]`)}, `a=[ {"a": 1.0} ]&b=[ {"<": 1} ]`},
		{struct {
			embedded
			Text string `url:"text"`
		}{embedded{"D1", []any{section}}, "hi"}, blocks + "&channel=D1&text=hi"},
		{struct{ *embedded }{&embedded{"D1", []any{section}}}, blocks + "&channel=D1"},

		{struct {
			A any `url:"a"`
			B any `url:"b"`
			C any `url:"c"`
		}{"x", 7, true}, "a=x&b=7&c=true"},
		{struct {
			A any              `url:"a,omitempty"`
			B *author          `url:"b,omitempty"`
			C []map[string]any `url:"c,omitempty"`
			D map[string]any   `url:"d,omitempty"`
			E json.RawMessage  `url:"e,omitempty"`
		}{}, ""},
		{struct {
			Text  string  `url:"text"`
			Flag  bool    `url:"flag,int"`
			Ratio float64 `url:"ratio"`
			Empty string  `url:"empty,omitempty"`
			Skip  string  `url:"-"`
			Named string
			Both  string `json:"thread" url:"thread_ts"`
			cache map[string]any
		}{`<@U1> "you"`, true, 0.5, "", "x", "y", "z", section}, `Named=y&flag=1&ratio=0.5&text=<@U1> "you"&thread_ts=z`},
		{struct {
			Users []string `url:"users,comma"`
			Types []string `url:"types"`
			IDs   []int    `url:"ids,brackets"`
		}{[]string{"U1", "U2"}, []string{"im", "mpim"}, []int{3, 4}}, "ids[]=3&ids[]=4&types=im&types=mpim&users=U1,U2"},
		{struct {
			At    time.Time  `url:"at"`
			Day   time.Time  `url:"day" layout:"2006-01-02"`
			Ptr   *time.Time `url:"ptr,unix"`
			Never time.Time  `url:"never,omitempty"`
		}{at, at, &at, time.Time{}}, "at=2026-11-21T09:30:00Z&day=2026-11-21&ptr=1795253400"},
		{struct {
			Range interval  `url:"range"`
			Ptr   *interval `url:"ptr"`
		}{interval{"a", "b"}, &interval{"c", "d"}}, "ptr=c..d&range=a..b"},
		// A Stringer keeps the encoding of go-querystring.
		{struct {
			A []netip.Addr  `url:"a"`
			B []id          `url:"b"`
			C labels        `url:"c"`
			D []labels      `url:"d"`
			E []*netip.Addr `url:"e"`
			F []any         `url:"f"`
		}{[]netip.Addr{addr, addr}, []id{{1}, {2}}, labels{"x": 1}, []labels{nil, {}}, []*netip.Addr{&addr}, []any{addr, "x", 7}},
			"a=10.0.0.1&a=10.0.0.1&b=id-1&b=id-2&c=1 labels&d=0 labels&d=0 labels&e=10.0.0.1&f=10.0.0.1&f=x&f=7"},
		// A struct becomes one argument even if it is a Stringer.
		{struct {
			A netip.Addr  `url:"a"`
			B *netip.Addr `url:"b"`
			C seven       `url:"c"`
			D **author    `url:"d"`
			E **author    `url:"e"`
		}{addr, &addr, seven{7}, pNone, &[]*author{&alice}[0]}, `a=10.0.0.1&b=10.0.0.1&c={"N":7}&d=&e={"name":"alice"}`},
		{struct {
			A author           `url:"a,omitempty"`
			B map[string]int   `url:"b,omitempty"`
			C []map[string]int `url:"c,omitempty"`
			D seven            `url:"d,omitempty"`
			E *seven           `url:"e,omitempty"`
			F seven            `url:"f,omitempty"`
			G *author          `url:"g,omitempty"`
			H any              `url:"h,omitempty"`
			I netip.Addr       `url:"i,omitempty"`
			J any              `url:"j,omitempty"`
			K seven            `url:"k,int,omitempty"`
			L seven            `url:"omitempty"`
		}{author{}, map[string]int{}, []map[string]int{}, seven{7}, &seven{7}, seven{0}, &author{}, map[string]int{}, netip.Addr{}, seven{7}, seven{7}, seven{7}},
			`g={"name":""}&h={}&omitempty={"N":7}`},
		// Without omitempty, an empty value is sent, and nil is not.
		{struct {
			A author           `url:"a"`
			B map[string]int   `url:"b"`
			C map[string]int   `url:"c"`
			D []map[string]int `url:"d"`
			E json.RawMessage  `url:"e"`
			F json.RawMessage  `url:"f"`
		}{B: map[string]int{}, D: []map[string]int{}, F: json.RawMessage{}}, `a={"name":""}&b={}`},
		{struct {
			A any `url:"a"`
			B any `url:"b"`
			C any `url:"c"`
			D any `url:"d"`
			E any `url:"e"`
			F any `url:"f"`
			G any `url:"g"`
			H any `url:"h"`
			I any `url:"i"`
			J any `url:"j"`
		}{[]string{"x", "y"}, []int(nil), &x, &px, at, &at, nil, none, interval{"a", "b"}, &interval{"c", "d"}},
			`a=["x","y"]&c=x&d=x&e=2026-11-21T09:30:00Z&f=2026-11-21T09:30:00Z&i=a..b&j=c..d`},
		{struct {
			A []any     `url:"a"`
			B []*string `url:"b"`
			C [][]byte  `url:"c"`
			D []any     `url:"d,comma"`
			E []any     `url:"e"`
			F []any     `url:"f"`
			G [2]int    `url:"g"`
			H []any     `url:"h"`
		}{[]any{&x, 1}, []*string{&x, nil}, [][]byte{[]byte("x")}, []any{true, "y"}, []any{1, []int{2}}, []any{[]any{}}, [2]int{1, 2}, []any{none}},
			`a=["x",1]&b=x&b=&c=["eA=="]&d=true,y&e=[1,[2]]&f=[[]]&g=1&g=2&h=[null]`},
		{struct { // the name of one argument can be the beginning of another
			Name  map[string]any `url:"a"`
			Other string         `url:"ab"`
			Third author         `url:"abc"`
		}{section, "x", alice}, `a={"n":1,"type":"section"}&ab=x&abc={"name":"alice"}`},
		{struct { // a Go name, and options without a name
			Author  author `url:",omitempty"`
			Ignored string `json:"-"`
		}{alice, "x"}, `Author={"name":"alice"}&Ignored=x`},

		{nil, ""},
		{(*author)(nil), ""},
		{map[string]any{
			"a": []int(nil), "b": map[string]int(nil), "c": json.RawMessage(nil), "d": none, "e": pNone, "f": at, "g": &at, "h": interval{"a", "b"},
			"i": addr, "j": map[string]string{"x": "y"}, "k": `<"x">`, "l": []int{}, "m": []byte("x"), "n": &px,
		}, `f=2026-11-21T09:30:00Z&g=2026-11-21T09:30:00Z&h=a..b&i=10.0.0.1&j={"x":"y"}&k=<"x">&l=[]&m=eA==&n=x`},
		{map[string]string{"a": "<b> c"}, "a=<b> c"},
		{&map[string]int{"a": 1}, "a=1"},
		{map[json.Number][]string{"1": {"x"}}, `1=["x"]`},
		{labels{"a": 1}, "a=1"},
		{url.Values{"types": {"im", "mpim"}, "blocks": {`[{}]`}}, "blocks=[{}]&types=im&types=mpim"},
		{map[string]any(nil), ""},
		{map[string]any{
			"a": "D1", "b": true, "c": 7, "d": int64(1) << 60, "e": 0.5, "f": 1e6, "g": json.Number("12.50"), "h": nil, "i": json.RawMessage(`{"a": 1}`),
			"j": []map[string]any{section}, "k": alice, "l": &alice, "m": []any{1, "a"},
		}, `a=D1&b=true&c=7&d=1152921504606846976&e=0.5&f=1000000&g=12.50&i={"a": 1}&j=[{"n":1,"type":"section"}]&k={"name":"alice"}&l={"name":"alice"}&m=[1,"a"]`},
	} {
		body, err := input.Params(tt.params).Encode()
		if err != nil {
			t.Errorf("%+v: %v", tt.params, err)
			continue
		}
		if got, err := url.QueryUnescape(string(body)); err != nil || got != tt.want {
			t.Errorf("%+v:\ngot  %s, %v\nwant %s", tt.params, got, err, tt.want)
		}
	}
}

// TestRejectedParams: params are invalid if they would have the wrong name on
// the wire, contain a token, or have no encoding.
func TestRejectedParams(t *testing.T) {
	const secret = "xoxb-S3CRET"
	cycle := map[string]any{}
	cycle["self"] = cycle
	var self any
	self = &self
	for _, tt := range []struct {
		params any
		want   string // in the error
	}{
		{&struct {
			Channel string `url:"channel"`
			Text    string `json:"text,omitempty"`
		}{"D1", ""}, "Text"},
		{struct{ embeddedJSON }{embeddedJSON{"1.2"}}, "ThreadTS"},
		{struct{ *embeddedJSON }{&embeddedJSON{"1.2"}}, "ThreadTS"},
		{struct{ embeddedToken }{embeddedToken{secret}}, "token"},
		{struct {
			Token map[string]any `url:"token"`
		}{map[string]any{"a": secret}}, "token"},
		{url.Values{"token": {secret}}, "token"},
		{map[string]any{"channel": "D1", "token": secret}, "token"},
		{struct {
			Blocks []any `url:"blocks"`
		}{[]any{func() {}}}, "unsupported type"},
		{struct {
			embedded
		}{embedded{"D1", []any{func() {}}}}, "unsupported type"},
		{map[string]any{"blocks": make(chan int)}, "unsupported type"},
		{map[string]any{"blocks": cycle}, "cycle"},
		{cycle, "cycle"},
		{map[string]any{"blocks": &self}, "cycle"},
		{struct{ A any }{self}, "cycle"},
		{self, "params"},
		{7, "params"},
		{map[int]any{1: "D1"}, "params"},
	} {
		_, err := input.Params(tt.params).Encode()
		if err == nil || !strings.HasPrefix(err.Error(), "params: ") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%T: got error %v, want one with %s and without the token", tt.params, err, tt.want)
		}
	}
}

type node struct {
	Next *node `url:"next"`
}

// TestCycles checks that a struct that contains itself is an error: go-querystring
// would use all memory.
func TestCycles(t *testing.T) {
	n := new(node)
	n.Next = n
	var list []any
	list = append(list, &list)
	for _, params := range []any{n, *n, map[string]any{"n": n}, struct {
		List any `url:"list"`
	}{list}} {
		if _, err := input.Params(params).Encode(); err == nil {
			t.Errorf("%T: got no error for a cycle", params)
		}
	}
}
