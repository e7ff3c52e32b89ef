package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// A visitor's browser, sent wherever a test names no other user agent.
const browser = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"

// requestTimeout is far longer than any answer takes; it only keeps a test from hanging.
const requestTimeout = 60 * time.Second

// A client is one keep-alive connection. Unlike net/http's client it sends a target byte for byte,
// broken ones too, and never repeats a request on its own: a test knows what it has sent.
type client struct {
	addr string
	conn net.Conn
	r    *bufio.Reader
}

// An answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends one request and reads its answer. Each header is "Name: value".
func (c *client) do(method, target, body string, headers ...string) (answer, error) {
	a, err := c.try(method, target, body, headers)
	if err != nil {
		c.close()
		return answer{}, fmt.Errorf("%s %.200s: %w", method, target, err)
	}
	return a, nil
}

func (c *client) try(method, target, body string, headers []string) (answer, error) {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.addr, requestTimeout)
		if err != nil {
			return answer{}, err
		}
		c.conn, c.r = conn, bufio.NewReader(conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return answer{}, err
	}
	if _, err := io.WriteString(c.conn, message(c.addr, method, target, body, headers)); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	if resp.Close {
		c.close()
	}
	return answer{resp.StatusCode, resp.Header, string(text)}, nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// message is a request as it goes over the wire.
func message(host, method, target, body string, headers []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, host)
	agent := false
	for _, h := range headers {
		b.WriteString(h + "\r\n")
		agent = agent || strings.HasPrefix(h, "User-Agent:")
	}
	if !agent {
		b.WriteString("User-Agent: " + browser + "\r\n")
	}
	if body != "" || method == http.MethodPost || method == http.MethodPut {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return b.String()
}

// wasIdle tells the failures of a keep-alive connection that the server closed while it was idle,
// which any client must expect and repeat, from real ones.
func wasIdle(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// parameter returns a query parameter of the answer's Location.
func (a answer) parameter(name string) string {
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}
