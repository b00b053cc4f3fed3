package engine

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter is the wait of a Retry-After header, in seconds or as a date, or
// 0 where the header asks for none or makes no sense. A date is compared with
// the response's own Date, since the clocks of two machines differ.
func RetryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	// The digits first: ParseFloat also reads "Inf" and "0x1p-2".
	if strings.Trim(text, "0123456789.") == "" {
		seconds, err := strconv.ParseFloat(text, 64)
		if err == nil || errors.Is(err, strconv.ErrRange) {
			return Seconds(seconds)
		}
		return 0
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(0, date.Sub(serverTime(h)))
	}
	return 0
}

// ResetAfter is the wait until the time of an X-RateLimit-Reset header, which
// counts milliseconds since 1970, or 0 as for [RetryAfter].
func ResetAfter(h http.Header) time.Duration {
	ms, err := strconv.ParseInt(strings.TrimSpace(h.Get("X-RateLimit-Reset")), 10, 64)
	if err != nil || ms <= 0 {
		return 0
	}
	return max(0, time.UnixMilli(ms).Sub(serverTime(h)))
}

// Seconds is a number of seconds as a wait: never negative, and the longest
// Duration where it would overflow.
func Seconds(n float64) time.Duration {
	switch d := n * float64(time.Second); {
	case !(d > 0): // NaN too
		return 0
	case d >= math.MaxInt64:
		return math.MaxInt64
	default:
		return time.Duration(d)
	}
}

func serverTime(h http.Header) time.Time {
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		return date
	}
	return time.Now()
}
