package caddymodule

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// hurry gives senders less time for their bodies.
func (s *site) hurry(route string, limit time.Duration) {
	s.t.Helper()
	app := runningApp(s.t)
	app.mu.Lock()
	defer app.mu.Unlock()
	if len(app.postbacks[route]) == 0 {
		s.t.Fatalf("there is no route %q", route)
	}
	for _, p := range app.postbacks[route] {
		p.bodyTimeout = limit
	}
}

// slowly sends the head of a request, then what feed writes, and returns what
// is answered and whether the server closed the connection after it.
func (s *site) slowly(head string, feed func(w io.Writer, stop <-chan struct{})) (status int, body string, closed bool) {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Error(err)
		return 0, "", false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = fmt.Fprintf(conn, "%s\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\n", head, s.addr)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		feed(conn, stop)
	}()
	defer func() { <-done }()
	defer close(stop)
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		s.t.Errorf("no answer: %v", err)
		return 0, "", false
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Errorf("half an answer: %v", err)
	}
	_, err = r.ReadByte()
	return res.StatusCode, string(text), err != nil
}

// bodyTimeouts are configurations in which Caddy itself waits for a body for
// ever, as long as now and then a byte comes, or even without.
var bodyTimeouts = map[string]string{
	"Caddy's default": "",
	"no idle timeout": "servers {\n timeouts {\n read_body_idle -1s\n }\n}",
}

// A body that does not end is cut off, however it is sent, and holds up
// nobody else.
func TestSlowBodies(t *testing.T) {
	for name, conf := range bodyTimeouts {
		t.Run(name, func(t *testing.T) { testSlowBodies(t, conf) })
	}
}

func testSlowBodies(t *testing.T, conf string) {
	s := newSite(t)
	s.conf = conf
	option, _ := memoryOption(t)
	s.load(option, "postback /pb {\n max_body 64KiB\n}\npostback /token {\n token a-long-secret\n}\npostback /intime {\n max_body 64KiB\n}")
	s.hurry("/pb", 300*time.Millisecond)
	s.hurry("/token", 300*time.Millisecond)
	s.hurry("/intime", inTime)
	id := click(t, "acme", 0)
	// drip writes a piece now and then, for ever.
	drip := func(piece string) func(io.Writer, <-chan struct{}) {
		return func(w io.Writer, stop <-chan struct{}) {
			for {
				if _, err := io.WriteString(w, piece); err != nil {
					return
				}
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
	}
	once := func(text string, then func(io.Writer, <-chan struct{})) func(io.Writer, <-chan struct{}) {
		return func(w io.Writer, stop <-chan struct{}) {
			_, _ = io.WriteString(w, text)
			if then != nil {
				then(w, stop)
			}
		}
	}
	const late, large = `"reason":"malformed_request","detail":"the body did not arrive in time`, `"reason":"body_too_large"`
	var parts sync.WaitGroup
	parts.Go(func() { s.inParts(id) })
	defer parts.Wait()
	chunk := "8000\r\n" + strings.Repeat("x", 0x8000) + "\r\n"
	cases := map[string]struct {
		path   string
		feed   func(io.Writer, <-chan struct{})
		status int
		want   string
	}{
		"one byte at a time":      {"/pb?click_id=" + id, once("Content-Length: 60000\r\n\r\n", drip("x")), 400, late},
		"chunks of one byte":      {"/pb?click_id=" + id, once("Transfer-Encoding: chunked\r\n\r\n", drip("1\r\nx\r\n")), 400, late},
		"a chunk that stops":      {"/pb?click_id=" + id, once("Transfer-Encoding: chunked\r\n\r\nffff\r\nx", nil), 400, late},
		"no chunk":                {"/pb?click_id=" + id, once("Transfer-Encoding: chunked\r\n\r\n", nil), 400, late},
		"less than said":          {"/pb", once("Content-Length: 100\r\n\r\nclick_id="+id, nil), 400, late},
		"nothing of what is said": {"/pb", once("Content-Length: 1\r\n\r\n", nil), 400, late},
		"a token, and slow":       {"/token?token=a-long-secret", once("Content-Length: 60000\r\n\r\n", drip("x")), 400, late},
		"large and slow to come":  {"/pb", once("Content-Length: 70000\r\n\r\n", drip("x")), 413, large},
		"endless and fast":        {"/intime", once("Transfer-Encoding: chunked\r\n\r\n", drip(chunk)), 413, large},
		"large, then silent":      {"/intime", once("Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat(chunk, 3), nil), 413, large},
	}
	t.Run("bodies", func(t *testing.T) {
		for name, tt := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						status, body, closed := s.slowly("POST "+tt.path+" HTTP/1.1", tt.feed)
						if status != tt.status || !strings.Contains(body, tt.want) {
							t.Errorf("got %d %s", status, body)
						}
						if !closed {
							t.Error("the connection is kept, with the rest of the body to come")
						}
					})
				}
				wg.Wait()
			})
		}
	})
	parts.Wait()
	if n := reported(t); n != 1 {
		t.Errorf("%d conversions of requests that never ended", n-1)
	}
}

// inTime is the limit for bodies that are to be in time.
const inTime = 3 * time.Second

// inParts sends bodies in parts, but in time, over one connection. It is as
// good as before even when the time for a body is over.
func (s *site) inParts(id string) {
	t := s.t
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(conn)
	for i := range 3 {
		_, _ = fmt.Fprintf(conn, "POST /intime HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nclick_id=\r\n", s.addr)
		time.Sleep(10 * time.Millisecond)
		_, _ = fmt.Fprintf(conn, "%x\r\n%s\r\n0\r\n\r\n", len(id), id)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Errorf("in parts: %v", err)
			return
		}
		text, _ := io.ReadAll(res.Body)
		if want := []string{"recorded", "duplicate", "duplicate"}[i]; res.StatusCode != 200 || !strings.Contains(string(text), want) {
			t.Errorf("in parts: got %d %s", res.StatusCode, text)
		}
		if i == 0 {
			time.Sleep(inTime + 200*time.Millisecond)
		}
	}
}

// One connection of HTTP/2 can carry many bodies that do not end.
func TestSlowBodiesOverHTTP2(t *testing.T) {
	for name, conf := range bodyTimeouts {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.conf = strings.Replace(conf, "servers {", "", 1)
			s.conf = "servers {\n protocols h1 h2c\n" + strings.TrimSuffix(s.conf, "}") + "\n}"
			option, _ := memoryOption(t)
			s.load(option, "postback /pb")
			s.hurry("/pb", 300*time.Millisecond)
			id := click(t, "acme", 0)
			transport := &http.Transport{Protocols: new(http.Protocols)}
			transport.Protocols.SetUnencryptedHTTP2(true)
			defer transport.CloseIdleConnections()
			c := &http.Client{Transport: transport, Timeout: 20 * time.Second}
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					body, feed := io.Pipe()
					defer body.Close()
					go func() {
						for {
							if _, err := io.WriteString(feed, "x"); err != nil {
								return
							}
							time.Sleep(20 * time.Millisecond)
						}
					}()
					res, err := c.Post(s.url("/pb?click_id="+id), "text/plain", body)
					if err != nil {
						t.Error(err)
						return
					}
					defer res.Body.Close()
					text, _ := io.ReadAll(res.Body)
					if res.ProtoMajor != 2 || res.StatusCode != 400 || !strings.Contains(string(text), "did not arrive in time") {
						t.Errorf("got %s %d %s", res.Proto, res.StatusCode, text)
					}
				})
			}
			wg.Wait()
			s.hurry("/pb", inTime)
			res, err := c.Post(s.url("/pb"), "application/x-www-form-urlencoded", strings.NewReader("click_id="+id))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if text, _ := io.ReadAll(res.Body); res.StatusCode != 200 || !strings.Contains(string(text), `"recorded"`) {
				t.Errorf("on the same connection: got %d %s", res.StatusCode, text)
			}
		})
	}
}

// Booking has its own time: the one for the body is over with it.
func TestBodyDeadlineEnds(t *testing.T) {
	for name, conf := range bodyTimeouts {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.conf = conf
			option, place := memoryOption(t)
			s.load(option, "postback /pb")
			s.hurry("/pb", 1500*time.Millisecond)
			id := click(t, "acme", 0)
			place.hook(func(*capture.Batch) error {
				time.Sleep(1700 * time.Millisecond)
				return nil
			})
			req, _ := http.NewRequest(http.MethodPost, s.url("/pb"), strings.NewReader("click_id="+id))
			if res, body := s.do(req); res.StatusCode != 200 || !strings.Contains(body, `"recorded"`) {
				t.Errorf("got %d %s", res.StatusCode, body)
			}
		})
	}
}

// A ping that its sender does not sign is no attack: it gets what the sender
// wants to hear, and no line in the log.
func TestUnsignedPingAnswer(t *testing.T) {
	t.Setenv("CAPTURE_SECRET", "hush")
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, "postback /pb {\n network woocommerce\n verify hmac {\n secret {env.CAPTURE_SECRET}\n }\n}")
	req, _ := http.NewRequest(http.MethodPost, s.url("/pb"), strings.NewReader("webhook_id=142"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if res, body := s.do(req); res.StatusCode != 200 || !strings.HasPrefix(body, `{"outcome":"ignored","detail":"`) {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
}
