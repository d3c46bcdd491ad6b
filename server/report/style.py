"""The page's one style sheet: light, dark, narrow and print. No font, image or script comes from outside."""

# Series colours follow Okabe & Ito (2008), darkened or lightened to stand 3:1 off their background; series also
# differ by dash and marker, so that no reading depends on colour.
LIGHT = {
    "page": "#ffffff",
    "panel": "#f5f7f8",
    "ink": "#1a2430",
    "soft": "#53606d",
    "rule": "#d5dbe1",
    "accent": "#0b5a83",
    "warn-page": "#fff5e3",
    "warn-ink": "#5f3d00",
    "warn-rule": "#b3781a",
    "series-0": "#0072b2",
    "series-1": "#c44e00",
    "series-2": "#00805f",
    "series-3": "#a63d7d",
    "series-4": "#86690a",
    "series-5": "#5a4fb0",
}
DARK = {
    "page": "#11161b",
    "panel": "#1a2128",
    "ink": "#e7ebef",
    "soft": "#a5b0bb",
    "rule": "#333d47",
    "accent": "#82c4ec",
    "warn-page": "#2e2410",
    "warn-ink": "#f5d79c",
    "warn-rule": "#b1842f",
    "series-0": "#56b4e9",
    "series-1": "#ff9150",
    "series-2": "#2fc79b",
    "series-3": "#ee8fc6",
    "series-4": "#dcbb45",
    "series-5": "#aa9dfa",
}
SERIES = 6

_LAYOUT = """
*,*::before,*::after{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:1rem/1.55 system-ui,-apple-system,"Segoe UI",
 "Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums lining-nums}
main,header,footer{max-width:73rem;margin:0 auto;padding:0 1.5rem}
h1,h2{font-family:Charter,"Iowan Old Style","Palatino Linotype",Palatino,Georgia,"Liberation Serif",serif;
 font-weight:600;line-height:1.2;text-wrap:balance}
h1{font-size:clamp(1.65rem,1.1rem + 2.2vw,2.5rem);margin:.4rem 0 .8rem;max-width:24em}
h2{font-size:1.5rem;margin:0 0 1rem}
h3{font-size:1.05rem;font-weight:600;margin:2.2rem 0 .6rem}
p,li,dd{max-width:44rem}
p{margin:.4rem 0 1rem}
a{color:var(--accent);text-underline-offset:.15em}
a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;overflow-wrap:anywhere}
abbr[title]{text-decoration:none}
section{padding:2.6rem 0;border-top:1px solid var(--rule)}
header{padding-top:3rem}
footer{padding-top:1.5rem;padding-bottom:3rem;color:var(--soft);font-size:.85rem}
.eyebrow{margin:0;color:var(--soft);font-size:.8rem;letter-spacing:.09em;text-transform:uppercase}
.facts{margin:0;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.6rem;color:var(--soft);
 font-size:.92rem}
.facts b{color:var(--ink);font-weight:600}
.use{margin:1.2rem 0 0;font-size:.92rem;color:var(--soft)}
.use strong{color:var(--ink)}
nav{margin:1.6rem 0 2.2rem;font-size:.88rem}
nav ul{margin:0;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.25rem}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
.notice{margin:0 0 1.4rem;padding:.9rem 1.2rem;background:var(--warn-page);color:var(--warn-ink);
 border-left:4px solid var(--warn-rule);border-radius:3px}
.notice p,.notice ul{margin:.2rem 0}
.notice ul{padding-left:1.2rem}
.notice.quiet{background:var(--panel);color:var(--ink);border-left-color:var(--rule)}
.strip{display:grid;grid-template-columns:minmax(15rem,2.2fr) repeat(4,minmax(6rem,1fr));gap:1px;margin:0 0 1.4rem;
 background:var(--rule);border:1px solid var(--rule);border-radius:6px;overflow:hidden}
.strip>div{background:var(--panel);padding:1.1rem 1.3rem}
.strip dt{color:var(--soft);font-size:.85rem}
.strip dd{margin:.15rem 0 0;font-size:1.9rem;line-height:1.15;font-weight:600}
.strip dd.small{font-size:.92rem;font-weight:400;color:var(--soft);line-height:1.4;margin-top:.35rem}
.strip .main dd:first-of-type{font-size:3rem;letter-spacing:-.02em;color:var(--accent)}
.strip dd.caution{color:var(--warn-ink)}
.strip svg{max-width:22rem;margin-top:.2rem}
.strip .text{font-size:19px}
.strip .line{stroke-width:6;stroke-linecap:round;opacity:.4}
.lead-text{font-size:1.06rem}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1.5rem 3rem;
 align-items:start}
.columns>div>h3:first-child{margin-top:0}
.scroll{overflow-x:auto;container-type:inline-size;margin:0 0 .8rem;background:
 linear-gradient(to right,var(--page) 30%,transparent) 0 0/2.5rem 100% no-repeat local,
 linear-gradient(to left,var(--page) 30%,transparent) 100% 0/2.5rem 100% no-repeat local,
 linear-gradient(to right,var(--rule),transparent) 0 0/.9rem 100% no-repeat scroll,
 linear-gradient(to left,var(--rule),transparent) 100% 0/.9rem 100% no-repeat scroll}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;color:var(--soft);font-size:.9rem;padding:0 0 .6rem}
caption span{display:block;position:sticky;left:0;max-width:min(44rem,100cqw)}
table.slim{max-width:36rem}
table.dense{font-size:.8rem}
.dense thead th{font-size:.74rem}
.dense td .small-text{font-size:.88em}
.dense th,.dense td{padding-left:.25rem;padding-right:.25rem}
th,td{padding:.5rem .6rem;text-align:left;vertical-align:baseline;border-bottom:1px solid var(--rule)}
thead th{font-size:.8rem;font-weight:600;color:var(--soft);border-bottom:1.5px solid var(--soft);
 vertical-align:bottom}
tbody th{font-weight:500;white-space:nowrap}
tbody th.long{white-space:normal}
.long{min-width:13rem}
.num{text-align:right}
td.num{white-space:nowrap}
tr.lead th,tr.lead td{font-weight:700;background:var(--panel)}
sup{font-size:.7em;line-height:0;margin-left:.1em}
.reasons,.small-text{color:var(--soft);font-size:.85rem}
td .small-text{font-size:.92em}
.reasons{margin:.2rem 0 1.2rem;padding-left:1.3rem}
figure{margin:0 0 1rem}
figcaption{color:var(--soft);font-size:.9rem;margin:0 0 .5rem}
figcaption strong{display:block;color:var(--ink);font-size:1.05rem;font-weight:600}
svg{display:block;width:100%;height:auto;max-width:36rem;overflow:visible}
.legend{margin:.5rem 0 0;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:.15rem 1.6rem;font-size:.87rem}
.legend li{display:flex;align-items:center;gap:.6rem}
.legend svg{width:2.4rem;flex:none}
.legend span{overflow-wrap:anywhere}
.flow{margin:0;padding:0;list-style:none;max-width:46rem}
.flow>li{position:relative;display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1.25fr);gap:2.5rem;
 max-width:none;padding-bottom:1.6rem}
.flow>li:last-child{padding-bottom:0}
.flow>li:not(:last-child)::before{content:"";position:absolute;z-index:-1;left:calc(50% - 1.25rem - 50%*.111 - 25%);
 top:1rem;bottom:0;border-left:1.5px solid var(--soft)}
.box{background:var(--panel);border:1px solid var(--rule);border-radius:5px;padding:.75rem 1rem;align-self:start;
 position:relative}
.box b{display:block;font-size:1.3rem;line-height:1.2}
.box ul{margin:.4rem 0 0;padding:0;list-style:none;font-size:.87rem;color:var(--soft)}
.box li{display:flex;justify-content:space-between;gap:1rem}
.side::before{content:"";position:absolute;right:100%;top:1.6rem;width:2.5rem;border-top:1.5px solid var(--soft)}
details{margin:1rem 0}
summary{cursor:pointer;font-weight:600;color:var(--accent);padding:.3rem 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr));gap:1rem;margin:0 0 1.5rem}
.cards>div{background:var(--panel);border:1px solid var(--rule);border-radius:6px;padding:1rem 1.2rem}
.cards dt{color:var(--soft);font-size:.87rem}
.cards dd{margin:.1rem 0 0;font-size:1.35rem;font-weight:600}
.cards dd.small{font-size:.9rem;font-weight:400;color:var(--soft);margin-top:.3rem}
.settings{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.4rem 1.6rem;margin:0 0 1.4rem;
 font-size:.92rem}
.settings dt{color:var(--soft)}
.settings dd{margin:0;overflow-wrap:anywhere}
.text{fill:var(--ink);font-size:13px}
.text.faint{fill:var(--soft)}
.text.strong{font-weight:700}
.end{text-anchor:end}
.middle{text-anchor:middle}
.grid{stroke:var(--rule);stroke-width:1}
.axis{stroke:var(--soft);stroke-width:1.2;fill:none}
.chance{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:2 4;fill:none}
.line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}
.mark{fill:var(--c);stroke:var(--page);stroke-width:1}
.band{fill:var(--c);opacity:.16}
.bar{fill:var(--c);opacity:.25}
.bar-end{stroke:var(--c);stroke-width:3}
.pooled{--c:var(--ink)}
.pooled.line{stroke-width:3}
.accent{--c:var(--accent)}
"""

_NARROW = """
@media (max-width:56rem){.strip{grid-template-columns:repeat(4,1fr)}.strip .main{grid-column:1/-1}}
@media (max-width:34rem){
main,header,footer{padding-left:1rem;padding-right:1rem}
header{padding-top:1.6rem}
section{padding:2rem 0}
tbody th{white-space:normal;min-width:6rem}
.strip{grid-template-columns:repeat(2,1fr)}
.strip>div{padding:.9rem 1rem}
.flow>li{grid-template-columns:minmax(0,1fr);gap:.9rem}
.flow>li:not(:last-child)::before{left:1.1rem}
.side{margin-left:2.2rem}
.side::before{width:1.1rem}
.settings{grid-template-columns:minmax(0,1fr);gap:0}
.settings dd{margin-bottom:.6rem}
}
"""

_PRINT = """
@media print{
@page{margin:16mm 14mm}
html{font-size:9.5pt}
main,header,footer{max-width:none;padding:0}
header{padding-top:0}
nav{display:none}
section{padding:1.2rem 0}
h2,h3,figcaption,caption{break-after:avoid}
figure,tr,.cards>div,.box,.notice,.strip{break-inside:avoid}
.scroll{overflow:visible;container-type:normal;background:none}
.long{min-width:0}
th,td{padding:.2rem .3rem}
.dense th,.dense td{padding:.2rem .15rem}
.columns{grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr))}
.columns:has(>.scroll,>div>.scroll){grid-template-columns:minmax(0,1fr)}
table,thead th{font-size:7.8pt}
table.dense,.dense thead th{font-size:7pt}
.dense td.num{white-space:normal}
.strip .main dd:first-of-type{font-size:2rem}
.strip dd{font-size:1.3rem}
details::details-content{content-visibility:visible;display:block;block-size:auto}
a{color:inherit;text-decoration:none}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
"""


def style_sheet() -> str:
    """The CSS of the page. Printing always takes the light palette."""
    series = "".join(f".series-{number}{{--c:var(--series-{number})}}" for number in range(SERIES))
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    root = f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
    return f"{root}{dark}{_LAYOUT}{series}{_NARROW}{_PRINT}"


def _variables(palette: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in palette.items())
