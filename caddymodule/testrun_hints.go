package caddymodule

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/caddy-capture/caddy-capture/capture"
)

// explainAlso says that a route could not be reached for want of knowledge.
func explainAlso(t *testTarget, flag string) string {
	return "The route was not reached, but it also asks for " + strings.Join(t.also, ", ") +
		", which the test cannot foresee. Name an address that it takes with " + flag + "."
}

// explainClick says in plain words why there was no redirect.
func explainClick(h *TrackClick, reply *testReply) string {
	switch {
	case reply.status >= 300 && reply.status < 400:
		return "This is a redirect without a Location, so visitors go nowhere."
	case reply.status == http.StatusUnauthorized || reply.status == http.StatusForbidden:
		return "An access rule before track_click refused the request. Visitors have to get through without a login."
	case reply.status == http.StatusMethodNotAllowed:
		return "Another handler answered, one that does not take GET. Is it before track_click, for the same path?"
	case reply.status >= 500:
		return "The site failed. Caddy's log says why; with inject or a proxy, is the application running?"
	case h.Inject != "":
		return "With inject the rest of the site has to answer with a redirect, which then gets the click ID. It answered " +
			"without one, so nothing was recorded. Which path of the application redirects? Name it with --click."
	case reply.status == http.StatusNotFound:
		return "Another handler answered before track_click did. Does a handle, route or redir above it take the same path, " +
			"or was the path rewritten?"
	}
	return "Another handler answered before track_click did: visitors are not redirected."
}

// explainNoID says in plain words why the redirect has no click ID.
func explainNoID(h *TrackClick) string {
	if h.Inject == "" {
		return "Either the redirect is not that of track_click (does a redir or a handle before it take the same path?), or " +
			"its destination has no {click_id}. Put {click_id} where the advertiser keeps a click ID, for example ?aff_sub={click_id}."
	}
	return "The redirect did not pass through track_click: does a handler before it answer the same path?"
}

// explainPostback says in plain words why a postback was not taken.
func (t *testRun) explainPostback(s *sentPostback) string {
	if s.answer.Outcome == "" {
		return explainForeign(s.reply.status)
	}
	text := strings.TrimSuffix(s.answer.Detail, ".")
	switch s.answer.Reason {
	case capture.BadToken:
		text += ". The test sent the route's first token as Authorization: Bearer; does a handler before the postback change that header?"
	case capture.BodyTooLarge, capture.MalformedRequest, capture.MethodNotAllowed:
		text += ". The test's postback is an ordinary one; does a handler before the postback change the request?"
	}
	switch s.answer.Outcome {
	case capture.Unavailable:
		text += ". " + t.storeTrouble()
	case capture.Accepted:
		text += ". It is on the disk of this machine, and booked when the database takes it. " + t.storeTrouble()
	}
	return strings.TrimPrefix(text, ". ")
}

// explainForeign explains an answer that is not that of the postback handler.
func explainForeign(status int) string {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return "An access rule before the postback refused the request. Senders cannot log in: leave the postback's path out of " +
			"basic_auth and the like, and protect it with token or allow."
	case status == http.StatusMethodNotAllowed:
		return "Another handler answered, one that does not take this method. Is it before the postback, for the same path?"
	case status >= 300 && status < 400:
		return "The request was redirected; most senders do not follow. Does a redir before the postback take the same path?"
	case status >= 500:
		return "The site failed before the postback was reached. Caddy's log says why."
	}
	return "Another handler answered before the postback did, and nothing was booked. Does a handle, route or respond above it take " +
		"the same path, or was the path rewritten?"
}

// explainOutcome explains what became of a postback that should have been
// recorded.
func explainOutcome(outcome capture.Outcome, reason capture.Reason, detail string) string {
	switch {
	case outcome == capture.Quarantined && reason == capture.WrongCampaign:
		return detail + ". Postback and track_click have to name the same campaign."
	case outcome == capture.Updated, outcome == capture.Duplicate:
		return "A conversion of this click was there already. Did another handler send the postback on as well?"
	}
	return detail
}

// explainDial says in plain words why there was no answer.
func explainDial(s *testServer, err error) string {
	where := strings.Join(s.dial, " or ")
	var netErr net.Error
	var alert tls.AlertError
	switch {
	case errors.Is(err, context.Canceled):
		return "The test was ended."
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return "Nothing answers at " + where + ", where server " + s.name + " should be. Does Caddy run in another network " +
			"namespace than its listener, or was the server just restarted?"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "There was no answer within " + testTimeout.String() + ". With inject or a proxy: does the application answer?"
	case errors.As(err, &alert):
		return "TLS was refused (" + alert.Error() + "). Has the site its certificate yet, or does it ask for one of its clients?"
	}
	return "The request went straight to " + where + ". A listener wrapper that expects something else there, such as proxy_protocol, " +
		"refuses that; then the test cannot be used."
}
