package caddymodule

import (
	"net/http"
	"time"
)

// defaultBodyTimeout is how long a sender may take over the whole body of a
// postback. Caddy's own timeout begins anew with every byte, so somebody who
// sends one a minute could hold a connection and its memory for weeks.
const defaultBodyTimeout = 10 * time.Second

// boundBody sets the deadline by which the body has to be there. The server
// takes it back when the body has been read to its end; until then it holds as
// well for what the server reads of a refused body to keep the connection.
func (p *Postback) boundBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	// All of Caddy's servers support it. A writer that does not is no
	// connection, and then nobody is waited for.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(p.bodyTimeout))
}
