// Package dashboard renders the pages on which people look at what Capture
// knows: what happens now, reports, the journal, single clicks and conversions,
// and the setup. The pages change nothing. They are made on the server and work
// without JavaScript, but for the live stream and the plots.
//
// It knows nothing of Caddy; what it needs of the running server is a [Source].
// Visitors and senders choose many of the values on the pages: all of them go
// through html/template, no script or style is inline, and the policy of each
// page allows only its own assets.
package dashboard
