package caddymodule

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// testTimeout is how long the site may take for one answer.
	testTimeout = 10 * time.Second
	// maxTestBody is how much of an answer is read.
	maxTestBody = 64 << 10
	// testUserAgent is that of a browser: the test is to be treated as a
	// visitor is.
	testUserAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0 CaptureTest"
)

// testServer is one server of the configuration and how to dial it from this
// machine.
type testServer struct {
	name    string
	network string
	dial    []string // addresses, tried in order
	port    uint
	tls     bool
	problem string // why it cannot be dialled, or ""
}

// newTestServer chooses the listener to dial: one with TLS where the server
// has any, since the others of it most often only redirect.
func newTestServer(app *caddyhttp.App, name string, srv *caddyhttp.Server) *testServer {
	s := &testServer{name: name, problem: fmt.Sprintf("the server %q listens nowhere that can be dialled", name)}
	httpPort := app.HTTPPort
	if httpPort == 0 {
		httpPort = caddyhttp.DefaultHTTPPort
	}
	for _, listen := range srv.Listen {
		addr, err := caddy.ParseNetworkAddress(listen)
		if err != nil || addr.IsFdNetwork() || !addr.IsUnixNetwork() && (addr.StartPort == 0 || !strings.HasPrefix(addr.Network, "tcp")) {
			continue
		}
		secure := len(srv.TLSConnPolicies) > 0 && int(addr.StartPort) != httpPort //nolint:gosec // a port
		if s.problem == "" && (s.tls || !secure) {
			continue
		}
		s.problem, s.tls, s.network, s.port = "", secure, addr.Network, addr.StartPort
		s.dial = dialAddresses(addr)
	}
	return s
}

// dialAddresses lists where a listener can be reached from this machine.
func dialAddresses(addr caddy.NetworkAddress) []string {
	if addr.IsUnixNetwork() {
		path, _, _ := strings.Cut(addr.Host, "|") // permissions may follow
		return []string{path}
	}
	hosts := []string{addr.Host}
	if ip := net.ParseIP(addr.Host); addr.Host == "" || ip != nil && ip.IsUnspecified() {
		hosts = []string{"127.0.0.1", "::1"}
	}
	port := strconv.FormatUint(uint64(addr.StartPort), 10)
	for i, host := range hosts {
		hosts[i] = net.JoinHostPort(host, port)
	}
	return hosts
}

// origin returns the beginning of the server's addresses for a host.
func (s *testServer) origin(host string) string {
	scheme, usual := "http", uint(80)
	if s.tls {
		scheme, usual = "https", 443
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if s.port == 0 || s.port == usual {
		return scheme + "://" + host
	}
	return scheme + "://" + host + ":" + strconv.FormatUint(uint64(s.port), 10)
}

// testReply is what came back.
type testReply struct {
	status   int
	location string
	body     []byte
}

// send makes one request of the site. It goes over the loopback interface
// where the listener is there, so what is between the internet and this
// machine is not part of the test.
func (s *testServer) send(ctx context.Context, t *testTarget) (*testReply, error) {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, t.method, t.url.String(), nil)
	if err != nil {
		return nil, err
	}
	for name, values := range t.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", testUserAgent)
	transport := &http.Transport{
		DialContext: s.dialContext,
		// The certificate is not what is tested, and it is this process that
		// is spoken to.
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true, ServerName: t.url.Hostname()}, //nolint:gosec // see above
		ForceAttemptHTTP2:  true,
		DisableKeepAlives:  true,
		DisableCompression: true,
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req) // follows no redirect
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTestBody))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return &testReply{status: resp.StatusCode, location: resp.Header.Get("Location"), body: body}, nil
}

func (s *testServer) dialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	var dialer net.Dialer
	var first error
	for _, address := range s.dial {
		conn, err := dialer.DialContext(ctx, s.network, address)
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}
