"""How the page of nodes looks, in light and dark, and what its script does."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--line:#8885;--soft:#8881;
--unhealthy:#b3261e;--unknown:#6b3fa0;--degraded:#8a5a00;--slow:#0b57a4;--healthy:#2e7d46;--on:#fff;--quiet:#5f6368}
@media(prefers-color-scheme:dark){:root{
--unhealthy:#ff8a80;--unknown:#cfa8ff;--degraded:#ffc14d;--slow:#7cc0ff;--healthy:#5fbf7a;--on:#111;--quiet:#a5abb3}}
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;padding:0 1.5rem;max-width:1500px}
h1{font-size:1.5rem;margin:.2rem 0 1rem}h2{font-size:1.1rem;margin:1.6rem 0 .5rem}
a{color:inherit}a:focus-visible,summary:focus-visible{outline:3px solid var(--slow);outline-offset:2px}
code{font-size:.92em}small{color:var(--quiet)}
.unhealthy{--state:var(--unhealthy)}.unknown{--state:var(--unknown)}.degraded{--state:var(--degraded)}
.slow{--state:var(--slow)}.healthy{--state:var(--healthy)}
.badge{display:inline-block;padding:0 .45em;border-radius:.3em;background:var(--state);color:var(--on);font-weight:600;font-size:.86em}
.badge.healthy{background:none;color:var(--state);box-shadow:inset 0 0 0 1px}
.unread{border:2px solid var(--unhealthy);border-radius:.5rem;padding:.2rem 1rem;margin-bottom:1rem}.unread h2{margin:.4rem 0}
.tiles{display:flex;flex-wrap:wrap;gap:.7rem;margin:0}
.tile{border:1px solid var(--line);border-left:.4rem solid var(--state);border-radius:.4rem;padding:.4rem .9rem;text-decoration:none}
.tile b{font-size:1.3rem;color:var(--state)}.tile small{display:block}
.tables{display:flex;flex-wrap:wrap;gap:2.5rem;align-items:start}
table{border-collapse:collapse;font-size:.92rem;margin:.8rem 0}caption{text-align:left;font-weight:600;font-size:1.05rem;padding:.3rem 0}
th,td{border-bottom:1px solid var(--line);padding:.2rem .9rem .2rem 0;text-align:left;font-weight:400;white-space:nowrap}
thead th{color:var(--quiet);font-size:.9em}td{font-variant-numeric:tabular-nums}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(10.2rem,1fr));gap:.45rem}
.grid a{display:block;border:1px solid var(--line);border-left:.25rem solid var(--state);
border-radius:.35rem;padding:.2rem .4rem .35rem;text-decoration:none}
.grid a:hover{border-color:currentColor}
.grid b{display:block;font-weight:400;font-size:.8rem;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.grid span{display:flex;flex-wrap:wrap;gap:2px;min-height:1rem}
.grid i{width:1rem;height:1rem;border-radius:2px;background:var(--state);color:var(--on);font:700 .75rem/1rem system-ui;text-align:center}
.grid i.unseen{background:none;color:var(--state);box-shadow:inset 0 0 0 2px}
.plots{display:flex;flex-wrap:wrap;gap:1.5rem}figure{margin:0;width:22rem}figcaption{font-size:.85rem;color:var(--quiet)}
svg{display:block;width:100%;height:auto;overflow:visible}svg text{font-size:10px;fill:var(--quiet)}
.bar{fill:var(--healthy)}.late{fill:var(--slow)}.axis{stroke:var(--line);fill:none}
.floor{stroke:CanvasText;stroke-dasharray:4 3;fill:none}
ul.slow{margin:.3rem 0;padding:0;list-style:none;font-size:.85rem;color:var(--slow)}
.node{border-top:1px solid var(--line)}.node>summary{padding:.35rem 0;cursor:pointer}.node>summary span{color:var(--quiet)}
.node>:not(summary){margin-left:1.1rem}.node p{margin:.3rem 1.1rem;font-size:.88rem}
.node[open]{background:var(--soft);padding-bottom:.8rem}
.result{border-left:.25rem solid var(--state);padding:.1rem .7rem;margin:.5rem 0 .5rem 1.1rem;overflow-wrap:anywhere}
.result small{display:block}.wide{overflow-x:auto}
"""

SCRIPT = """
const find=document.getElementById('find'),nodes=document.querySelectorAll('.node');
function shown(){const node=document.getElementById(location.hash.slice(1));
if(node&&node.matches('.node')){node.hidden=false;node.open=true;node.scrollIntoView()}}
addEventListener('hashchange',shown);shown();
document.addEventListener('click',event=>{if(event.target.closest('a'))setTimeout(shown)});
if(find){find.hidden=false;const said=find.querySelector('output');
find.querySelector('input').addEventListener('input',event=>{const text=event.target.value.toLowerCase();let count=0;
for(const node of nodes){node.hidden=!node.textContent.toLowerCase().includes(text);count+=!node.hidden}
said.textContent=text?count+' of '+nodes.length:''})}
"""
