package engine

import (
	"cmp"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter returns the wait that a Retry-After header requests, or 0 if there
// is no valid one. A date is compared with the response's Date header, because
// the clocks of two machines differ.
func RetryAfter(h http.Header) time.Duration {
	text := cmp.Or(strings.TrimSpace(h.Get("Retry-After")), "0")
	if strings.Trim(text, "0123456789.") == "" { // ParseFloat also accepts "Inf" and "0x1p-2"
		seconds, _ := strconv.ParseFloat(text, 64) // 1.2.3 is 0, and too many digits are infinity
		return Seconds(seconds)
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, date.Sub(serverTime(h)))
}

// ResetAfter returns the time until X-RateLimit-Reset, a Unix time in
// milliseconds, or 0 if there is no valid header.
func ResetAfter(h http.Header) time.Duration {
	ms, err := strconv.ParseInt(strings.TrimSpace(h.Get("X-RateLimit-Reset")), 10, 64)
	if err != nil || ms <= 0 {
		return 0
	}
	return max(0, time.UnixMilli(ms).Sub(serverTime(h)))
}

// Seconds converts n seconds to a Duration. If n is too large, it returns the maximum.
func Seconds(n float64) time.Duration {
	if n*float64(time.Second) >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(n * float64(time.Second))
}

func serverTime(h http.Header) time.Time {
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		return date
	}
	return time.Now()
}
