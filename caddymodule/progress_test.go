package caddymodule

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := testNow
	p := &progress{w: &out, width: 60, what: "importing", bytes: true, now: func() time.Time { return now }}
	want := func(text string) {
		t.Helper()
		if got := strings.TrimRight(out.String(), " "); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
		out.Reset()
	}
	p.set(0, 4<<20)
	want("\rimporting    0%  0 B of 4.0 MiB")
	now = now.Add(50 * time.Millisecond)
	p.set(10, 4<<20)
	want("") // too soon
	now = now.Add(1950 * time.Millisecond)
	p.set(1<<20, 4<<20)
	want("\rimporting   25%  1.0 MiB of 4.0 MiB  512 KiB/s  6s left")
	p.width = 20
	now = now.Add(time.Second)
	p.set(2<<20, 4<<20)
	want("\rimporting   50%  2.") // and blanks over the rest
	p.clear()
	if got := out.String(); got != "\r"+strings.Repeat(" ", 19)+"\r" {
		t.Errorf("clear wrote %q", got)
	}
	out.Reset()
	p.clear()
	want("")
	p.begin("next")
	p.bytes, p.width = false, 80
	p.set(12345, 0)
	want("\rnext  12,345")

	// What an earlier attempt did says nothing of the rate.
	p.begin("copying")
	p.before = 1000
	p.set(1000, 3000)
	out.Reset()
	now = now.Add(2 * time.Second)
	p.set(1500, 3000)
	want("\rcopying   50%  1,500 of 3,000  250/s  6s left")

	silent := &progress{now: time.Now}
	silent.set(1, 2)
	silent.clear()
}

func TestSentLines(t *testing.T) {
	t.Parallel()
	s := &sentLines{r: iotest.OneByteReader(strings.NewReader("header\na\nbb\nlast"))}
	if _, err := io.ReadAll(s); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		line int
		want int64
	}{{0, 6}, {2, 11}, {2, 11}, {3, 16}} {
		if got := s.answered(tt.line); got != tt.want {
			t.Errorf("line %d: %d bytes, want %d", tt.line, got, tt.want)
		}
	}
}

func TestProgressOfAnswers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		estimate, kind string
		length         int64
		body, want     string
	}{
		{"2", typeCSV, -1, "id\na\nb\n", "\rexporting  100%  3 of about 3"},
		{"3", typeBinary, -1, "xy", "\rexporting   66%  2 B of about 3 B"},
		{"1", typeCSV, -1, "id\na\nb\n", "\rexporting  3"}, // a bad estimate
		{"", typeCSV, -1, "id\n", "\rexporting  1"},
		{"1", typeCSV, -1, "id,body\n1,\"a\n\"\"b\n\"\n", "\rexporting  100%  2 of about 2"}, // a body of lines
		{"2", typeJSONLines, -1, "{}\n{\"a\":\"\\\"\"}\n", "\rexporting  100%  2 of about 2"},
		{"", typeBinary, -1, "xy", "\rexporting  2 B"},
		{"9", typeBinary, 4, "wxyz", "\rexporting  100%  4 B of 4 B"},
	} {
		var out, to bytes.Buffer
		p := &progress{w: &out, width: 80, what: "exporting", bytes: true, now: func() time.Time { return testNow }}
		resp := &http.Response{ContentLength: tc.length, Header: http.Header{"Content-Type": {tc.kind}}}
		if tc.estimate != "" {
			resp.Header.Set(estimateHeader, tc.estimate)
		}
		n, err := newCounter(resp, p).copy(&to, strings.NewReader(tc.body))
		if err != nil || n != int64(len(tc.body)) || to.String() != tc.body {
			t.Errorf("%+v: %d, %v", tc, n, err)
		}
		if got := out.String(); got != tc.want {
			t.Errorf("%+v shows %q", tc, got)
		}
	}
}
