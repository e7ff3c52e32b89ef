package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// benchSite has the yardsticks, redir and respond, beside what is measured against them: all of it
// in one process with one store, once for HTTP/1.1 and once for HTTPS with HTTP/2.
//
// The stamped routes are for h2load, all of whose clients walk through the same list of URLs: there
// the server itself gives each request a number of its own, to its yardstick as well.
const benchSite = `{
	admin $ADMIN
	default_bind 127.0.0.1
	skip_install_trust
	auto_https disable_redirects
	servers {
		protocols h1 h2
	}
	capture {
		store badger $STORE
	}
}
(kinds) {
	redir /redir https://acme.example/offer?aff_sub=0123456789abcdefghijklmnop
	respond /respond "{\"outcome\":\"recorded\"}" 200
	track_click /go/acme https://acme.example/offer?aff_sub={click_id}
	track_click /out/books {
		inject aff_sub
	}
	redir /out/books https://acme.example/offer?partner=42
	postback /postback
	route /stamped/respond {
		uri query txid {http.request.uuid}
		respond "{\"outcome\":\"recorded\"}" 200
	}
	route /stamped/postback {
		uri query txid {http.request.uuid}
		postback
	}
}
(logged) {
	log {
		output file $DIR/access.log {
			roll_disabled
		}
	}
	redir /redir https://acme.example/offer?aff_sub=0123456789abcdefghijklmnop
}
http://127.0.0.1:$PORT {
	import kinds
}
http://127.0.0.1:$LOGPORT {
	import logged
}
https://127.0.0.1:$TLSPORT {
	tls internal
	import kinds
}
https://127.0.0.1:$TLSLOGPORT {
	tls internal
	import logged
}
`

// The names of the kinds of requests.
const (
	kindRedir    = "redir"
	kindAgain    = "redir again" // the control: measured like redir, it shows what is noise
	kindLogged   = "redir with log"
	kindClick    = "click"
	kindInject   = "inject"
	kindRespond  = "respond"
	kindStamped  = "respond stamped"
	kindPostback = "postback"
	kindOld      = "postback of an old click"
	kindRepeat   = "repeat"
	kindForged   = "forged"
)

// A benchKind is one kind of request.
type benchKind struct {
	name, yardstick string
	status          int
	target          string  // with {id} and {n} where each request is one of its own
	logged          bool    // on the site with an access log
	counter         counter // what the server counts it as; nothing for what is Caddy's own
}

// benchKinds are the kinds in the order in which they are measured. The identifier is of a click
// that has the conversion "order-0".
func benchKinds(p protocol, id string) []benchKind {
	const visit = "?source=newsletter&sub1=banner&utm_campaign=spring"
	report := func(id, txid string) string {
		return "/postback?click_id=" + id + "&txid=" + txid + "&payout=12.50&currency=USD"
	}
	outcome := func(name string) counter { return counter{postbacksCounted, "outcome", name} }
	visits := counter{clicksCounted, "kind", "counted"}
	wrong := []byte(id)
	slices.Reverse(wrong)
	kinds := []benchKind{
		{kindRedir, "", 302, "/redir", false, counter{}},
		{kindLogged, kindRedir, 302, "/redir", true, counter{}},
		{kindClick, kindRedir, 302, "/go/acme" + visit, false, visits},
		{kindInject, kindRedir, 302, "/out/books" + visit, false, visits},
		{kindAgain, kindRedir, 302, "/redir", false, counter{}},
		{kindRespond, "", 200, "/respond", false, counter{}},
		{kindPostback, kindRespond, 200, report("{id}", "{n}"), false, outcome("recorded")},
		{kindRepeat, kindRespond, 200, report(id, "order-0"), false, outcome("duplicate")},
		{kindForged, kindRespond, 400, report(string(wrong), "order-1"), false, outcome("rejected")},
	}
	if p == https2 {
		i := slices.IndexFunc(kinds, func(k benchKind) bool { return k.name == kindPostback })
		rest := "?click_id={id}&payout=12.50&currency=USD"
		kinds[i].yardstick, kinds[i].target = kindStamped, "/stamped/postback"+rest
		kinds = slices.Insert(kinds, i, benchKind{kindStamped, kindRespond, 200, "/stamped/respond" + rest, false, counter{}})
	}
	return kinds
}

// A benchServer is a server under load.
type benchServer struct {
	*server
	processors []int                  // it runs on
	ports      map[protocol][2]string // without and with an access log
	ids        []string               // of clicks
	list       string                 // the file that has them
	first      int                    // of them in the last list of targets
}

// startBenchServer starts a server on some processors, and makes clicks for its postbacks.
func startBenchServer(b *testing.B, processors []int, clicks int) *benchServer {
	b.Helper()
	ports := map[protocol][2]string{https2: {freePort(b), freePort(b)}}
	logPort := freePort(b)
	s := newServer(b, benchSite, "$LOGPORT", logPort, "$TLSPORT", ports[https2][0], "$TLSLOGPORT", ports[https2][1])
	ports[http1] = [2]string{s.port, logPort}
	s.under = pinned(processors)
	s.start()
	for _, port := range ports[https2] {
		eventually(b, startTimeout, func() error {
			// Its authority is of its own making and nothing is sent: only that it answers counts.
			conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{InsecureSkipVerify: true})
			if err == nil {
				conn.Close()
			}
			return err
		})
	}
	bs := &benchServer{server: s, processors: processors, ports: ports, list: filepath.Join(s.dir, "clicks")}
	bs.moreClicks(b, clicks)
	if a := s.get("/postback?click_id=" + bs.ids[0] + "&txid=order-0&payout=12.50&currency=USD"); a.status != 200 {
		b.Fatalf("postback: status %d %s", a.status, a.body)
	}
	return bs
}

// url is where a kind of request goes, without its target.
func (s *benchServer) url(p protocol, k benchKind) string {
	ports := s.ports[p]
	port := ports[0]
	if k.logged {
		port = ports[1]
	}
	return p.scheme() + "://127.0.0.1:" + port
}

// moreClicks gives postbacks fresh clicks to report on. The first one has a conversion already, for
// what repeats its postback.
func (s *benchServer) moreClicks(b *testing.B, n int) {
	b.Helper()
	var err error
	if s.ids, err = makeClicks(n, s.site()); err != nil {
		b.Fatal(err)
	}
	if err := writeLines(s.list, s.ids); err != nil {
		b.Fatal(err)
	}
	if a := s.get("/postback?click_id=" + s.ids[0] + "&txid=order-0&payout=12.50&currency=USD"); a.status != 200 {
		b.Fatalf("postback: status %d %s", a.status, a.body)
	}
}

// makeClicks follows a tracked link of some servers, in turns, and returns the IDs of the clicks.
func makeClicks(n int, sites ...string) ([]string, error) {
	const workers = 16
	ids := make([][]string, workers)
	faults := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			c := client{addr: sites[w%len(sites)]}
			defer c.close()
			for len(ids[w]) < (n+workers-1)/workers && faults[w] == nil {
				a, err := c.do("GET", "/go/acme?source=newsletter", "")
				if id := a.parameter("aff_sub"); err == nil && clickIDs.MatchString(id) {
					ids[w] = append(ids[w], id)
				} else {
					faults[w] = fmt.Errorf("clicking: status %d, %v", a.status, err)
				}
			}
		})
	}
	all.Wait()
	return slices.Concat(ids...), errors.Join(faults...)
}

// targets writes a kind's targets to a file, one a line. All connections will go through them from
// the first one on, so each time another click comes first.
func (s *benchServer) targets(base string, k benchKind) (string, error) {
	lines := []string{base + k.target}
	if strings.Contains(k.target, "{id}") {
		lines = lines[:0]
		s.first = (s.first + 997) % len(s.ids)
		for _, id := range slices.Concat(s.ids[s.first:], s.ids[:s.first]) {
			lines = append(lines, base+strings.Replace(k.target, "{id}", id, 1))
		}
	}
	name := filepath.Join(s.dir, "targets")
	return name, writeLines(name, lines)
}

func writeLines(name string, lines []string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
