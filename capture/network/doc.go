// Package network knows the senders of postbacks: affiliate networks and their
// white labels, checkouts, offer walls and measurement platforms. What is
// known about them is data, in catalogue.yaml; this package looks senders up,
// presets a [capture.Route] for one, writes the postback URL that is pasted
// into it, and explains what is wrong with one that was.
//
// It knows nothing of Caddy but the text of its configuration.
package network
